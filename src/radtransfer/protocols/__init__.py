"""Wrong and right protocols on the same images: how much of a headline is bought by mistakes."""
