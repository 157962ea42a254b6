"""Models: weights into networks, models that a user adds, and a segmentation network used alone."""
