"""Pictures that are drawn, so that the truth about every pixel is known, and the networks that read them."""
