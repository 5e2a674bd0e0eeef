"""Where networks look: attribution maps, what they are worth, and how they compare with experts."""
