"""Training: pairs from folders of scans, synthetic pairs, the loop that trains a network and keeps what it reached."""
