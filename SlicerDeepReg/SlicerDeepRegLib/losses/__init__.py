"""What a registration minimizes. Each loss says its range and its reduction."""
