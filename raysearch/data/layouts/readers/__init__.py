"""What several layouts read alike: folders, archives, lists of ids and labels, and MATLAB files."""
