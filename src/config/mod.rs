//! From what people write (YAML, environment, `.env`) to the configuration as used.
