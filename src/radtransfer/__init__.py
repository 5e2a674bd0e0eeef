"""Does transfer learning make convolutional networks better diagnosticians in radiology?

The library under the study: each sub-package is one stage of its flow, and imports point one
way (``data`` -> ``models`` -> ``training`` -> analyses -> ``report`` -> ``study`` -> ``cli``).
"""

__version__ = "0.1.0"
