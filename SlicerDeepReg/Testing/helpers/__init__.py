"""What the tests share: geometries, synthetic images, pairs, requests, small data sets, and waiting for a process."""
