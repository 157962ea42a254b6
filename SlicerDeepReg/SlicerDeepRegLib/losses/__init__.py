"""What a registration minimises. Each loss says its range and its reduction."""
