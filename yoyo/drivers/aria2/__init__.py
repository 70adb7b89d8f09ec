"""Downloads by aria2: several connections, pieces in order, resume after a crash."""
