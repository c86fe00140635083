//! Amazon Bedrock: Converse and ConverseStream, embeddings by InvokeModel, and request signatures.

pub mod path;
pub mod sign;
