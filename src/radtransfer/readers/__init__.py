"""Readers against algorithms: real reading studies, phantom readers, and the means to run a new one."""
