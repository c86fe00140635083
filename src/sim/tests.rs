//! The simulation as its clients see it, over real connections.
