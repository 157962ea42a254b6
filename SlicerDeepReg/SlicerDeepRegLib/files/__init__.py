"""Images, points and transforms in and out of files. Everything is LPS mm here too."""
