"""Training on label maps of brains: images of any contrast are painted on them."""
