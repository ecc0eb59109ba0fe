//! Which backends take new flows, and with what weight.
