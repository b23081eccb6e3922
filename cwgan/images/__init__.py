"""From photographs and words to a data set, with timm and sentence-transformers."""
