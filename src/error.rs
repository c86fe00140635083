//! Small error types that several floors share.
