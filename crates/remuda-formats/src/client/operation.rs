//! What a request asks for, and what follows from that: framing, default streaming, label.

/// One operation of Ollama's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Root,
    Version,
    Tags,
    Ps,
    Show,
    Generate,
    Chat,
    Embed,
    Embeddings,
    Pull,
    Push,
    Create,
    Copy,
    Delete,
    BlobHead,
    BlobPost,
    OpenAiChat,
    OpenAiCompletions,
    OpenAiEmbeddings,
    OpenAiResponses,
    OpenAiModels,
    OpenAiModel,
    OpenAiImages,
    OpenAiImageEdits,
    AudioTranscriptions,
    AnthropicMessages,
    AnthropicCountTokens,
}

/// How the answer to an operation is framed when it streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    /// One JSON object a line, `application/x-ndjson`.
    Ndjson,
    /// Server-sent events, `text/event-stream`.
    Sse,
    /// One body; the operation does not stream.
    Whole,
}

/// Returns whether a path's argument is the digest of a blob, as Ollama has them.
pub fn is_digest(text: &str) -> bool {
    let digits = text
        .strip_prefix("sha256")
        .and_then(|rest| rest.strip_prefix([':', '-']));
    digits.is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

impl Operation {
    /// Runs a model, so it takes a slot.
    pub fn is_inference(self) -> bool {
        use Operation::*;
        matches!(
            self,
            Generate
                | Chat
                | Embed
                | Embeddings
                | OpenAiChat
                | OpenAiCompletions
                | OpenAiEmbeddings
                | OpenAiResponses
                | OpenAiImages
                | OpenAiImageEdits
                | AudioTranscriptions
                | AnthropicMessages
                | AnthropicCountTokens
        )
    }

    /// Changes what a server stores, so it needs `manage: true`.
    pub fn is_management(self) -> bool {
        use Operation::*;
        matches!(
            self,
            Pull | Push | Create | Copy | Delete | BlobHead | BlobPost
        )
    }

    /// Returns whether an absent `stream` means true.
    pub fn streams_by_default(self) -> bool {
        use Operation::*;
        matches!(self, Generate | Chat | Pull | Push | Create)
    }

    /// Returns how the answer is framed when it streams.
    pub fn framing(self) -> AnswerFraming {
        use Operation::*;
        match self {
            Generate | Chat | Pull | Push | Create => AnswerFraming::Ndjson,
            OpenAiChat | OpenAiCompletions | OpenAiResponses | AudioTranscriptions
            | AnthropicMessages => AnswerFraming::Sse,
            _ => AnswerFraming::Whole,
        }
    }

    /// Returns whether a request carries a JSON body that names a model or two.
    pub fn has_json_body(self) -> bool {
        use Operation::*;
        !matches!(
            self,
            Root | Version
                | Tags
                | Ps
                | BlobHead
                | BlobPost
                | OpenAiModels
                | OpenAiModel
                | AudioTranscriptions
        )
    }

    /// Returns the route's path, a label of low cardinality.
    pub fn name(self) -> &'static str {
        use Operation::*;
        match self {
            Root => "/",
            Version => "/api/version",
            Tags => "/api/tags",
            Ps => "/api/ps",
            Show => "/api/show",
            Generate => "/api/generate",
            Chat => "/api/chat",
            Embed => "/api/embed",
            Embeddings => "/api/embeddings",
            Pull => "/api/pull",
            Push => "/api/push",
            Create => "/api/create",
            Copy => "/api/copy",
            Delete => "/api/delete",
            BlobHead | BlobPost => "/api/blobs/:digest",
            OpenAiChat => "/v1/chat/completions",
            OpenAiCompletions => "/v1/completions",
            OpenAiEmbeddings => "/v1/embeddings",
            OpenAiResponses => "/v1/responses",
            OpenAiModels => "/v1/models",
            OpenAiModel => "/v1/models/:model",
            OpenAiImages => "/v1/images/generations",
            OpenAiImageEdits => "/v1/images/edits",
            AudioTranscriptions => "/v1/audio/transcriptions",
            AnthropicMessages => "/v1/messages",
            AnthropicCountTokens => "/v1/messages/count_tokens",
        }
    }

    /// Returns the part of `path` that stands for `:model` or `:digest`, still percent-encoded.
    pub fn argument(self, path: &str) -> Option<&str> {
        let (prefix, _) = self.name().split_once(':')?;
        path.strip_prefix(prefix)
    }

    /// Returns the Go type that Ollama decodes the body into, as its errors name it.
    pub(super) fn go_type(self) -> &'static str {
        use Operation::*;
        match self {
            Show => "ShowRequest",
            Generate => "GenerateRequest",
            Chat => "ChatRequest",
            Embed | OpenAiEmbeddings => "EmbedRequest",
            Embeddings => "EmbeddingRequest",
            Pull => "PullRequest",
            Push => "PushRequest",
            Create => "CreateRequest",
            Copy => "CopyRequest",
            Delete => "DeleteRequest",
            OpenAiChat => "ChatCompletionRequest",
            OpenAiCompletions => "CompletionRequest",
            OpenAiResponses => "ResponsesRequest",
            OpenAiImages => "ImageGenerationRequest",
            OpenAiImageEdits => "ImageEditRequest",
            AnthropicMessages | AnthropicCountTokens => "MessagesRequest",
            _ => "Request",
        }
    }

    /// Returns the Go package of [`Operation::go_type`].
    pub(super) fn go_package(self) -> &'static str {
        use Operation::*;
        match self {
            OpenAiChat | OpenAiCompletions | OpenAiEmbeddings | OpenAiResponses | OpenAiImages
            | OpenAiImageEdits => "openai",
            AnthropicMessages | AnthropicCountTokens => "anthropic",
            _ => "api",
        }
    }
}
