"""What is asked of a trained pair: programs in, arrays out."""
