"""From what the user gave to what a method works on: checks, intensities, working grid."""
