//! Shortest histories of faults that are mended.
