"""From what has come to what is owed: series settle by their signals, and routes decide. Run by workers."""
