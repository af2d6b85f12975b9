"""The feature of definitions: named, versioned templates of runs."""
