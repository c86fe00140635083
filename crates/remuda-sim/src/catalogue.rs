//! What is known of well-known models: sizes, families and capabilities as Ollama's library lists them.

use super::chance::{self, Dice};
use super::names::Name;

/// One model as a server has it on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub(super) name: Name,
    /// Bytes on disk.
    pub(super) size: u64,
    /// Bytes of cache per token of context that a loaded model takes besides its weights.
    pub(super) cache_per_token: u64,
    pub(super) family: &'static str,
    pub(super) parameters: String,
    pub(super) quantization: &'static str,
    pub(super) context_length: u32,
    /// Length of a hidden state and of an embedding.
    pub(super) embedding_length: u32,
    pub(super) capabilities: &'static [&'static str],
    /// Whether tool calls come on the `done: true` line (models with a parser of their own).
    pub(super) calls_on_last_line: bool,
    /// Of the manifest: 64 hexadecimal digits.
    pub(super) digest: String,
    /// Of the file with the weights, by which a server knows what is loaded.
    pub(super) blob: String,
}

impl Model {
    /// Reads `name` or `name=size` (`qwen3:8b=5GiB`). A stated size is also exactly what the model takes in VRAM.
    pub fn parse(text: &str) -> Result<Self, BadModel> {
        let (name, size) = match text.split_once('=') {
            Some((name, size)) => (name, Some(size)),
            None => (text, None),
        };
        let name = Name::parse(name.trim()).ok_or_else(|| BadModel(text.to_owned()))?;
        let mut model = Self::named(&name);
        if let Some(size) = size {
            let size: bytesize::ByteSize =
                size.trim().parse().map_err(|_| BadModel(text.to_owned()))?;
            (model.size, model.cache_per_token) = (size.as_u64(), 0);
        }
        Ok(model)
    }

    /// A model of the catalogue, or a plausible one of that name.
    pub(super) fn named(name: &Name) -> Self {
        Self::known(name).unwrap_or_else(|| Self::invented(name))
    }

    /// A model of the catalogue.
    pub(super) fn known(name: &Name) -> Option<Self> {
        LIBRARY
            .iter()
            .find(|entry| entry.names.contains(&name.as_str()))
            .map(|entry| entry.model(name))
    }

    fn invented(name: &Name) -> Self {
        let billions = billions_in(name.as_str()).unwrap_or_else(|| {
            f64::from(3 + (chance::hash(0, name.as_str().as_bytes()) % 10) as u32)
        });
        let capabilities = if name.as_str().contains("embed") {
            EMBED
        } else {
            TOOLS
        };
        Self {
            name: name.clone(),
            // Four-bit weights: about 0.6 bytes a parameter.
            size: (billions * 0.6e9) as u64,
            cache_per_token: (billions * 16_384.0) as u64,
            family: "llama",
            parameters: format!("{billions:.1}B"),
            quantization: "Q4_K_M",
            context_length: 32_768,
            embedding_length: 2_048,
            capabilities,
            calls_on_last_line: false,
            digest: digest(name.as_str()),
            blob: digest(&format!("weights of {}", name.as_str())),
        }
    }

    pub(super) fn can(&self, capability: &str) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The same weights under another name, with other layers beside them.
    pub(super) fn made_into(&self, name: &Name) -> Self {
        Self {
            digest: digest(&format!("{} from {}", name.as_str(), self.digest)),
            ..self.renamed(name)
        }
    }

    /// The same model under another name.
    pub(super) fn renamed(&self, name: &Name) -> Self {
        Self {
            name: name.clone(),
            ..self.clone()
        }
    }
}

/// A `name[=size]` that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a model: expected name, name:tag or name=size such as qwen3:8b=5GiB")]
pub struct BadModel(String);

/// The `8` in `qwen3:8b`, if the tag says it.
fn billions_in(name: &str) -> Option<f64> {
    name.split([':', '-', '_', '/'])
        .filter_map(|part| part.strip_suffix('b'))
        .find_map(|digits| digits.parse().ok())
        .filter(|billions| *billions > 0.0 && *billions < 10_000.0)
}

fn digest(text: &str) -> String {
    let seed = chance::hash(0, text.as_bytes());
    Dice::new(seed).text(b"0123456789abcdef", 64)
}

struct Entry {
    names: &'static [&'static str],
    size: u64,
    cache_per_token: u64,
    family: &'static str,
    parameters: &'static str,
    quantization: &'static str,
    context_length: u32,
    embedding_length: u32,
    capabilities: &'static [&'static str],
    calls_on_last_line: bool,
}

impl Entry {
    fn model(&self, name: &Name) -> Model {
        Model {
            name: name.clone(),
            size: self.size,
            cache_per_token: self.cache_per_token,
            family: self.family,
            parameters: self.parameters.to_owned(),
            quantization: self.quantization,
            context_length: self.context_length,
            embedding_length: self.embedding_length,
            capabilities: self.capabilities,
            calls_on_last_line: self.calls_on_last_line,
            digest: digest(self.names[0]),
            blob: digest(&format!("weights of {}", self.names[0])),
        }
    }
}

const TEXT: &[&str] = &["completion"];
const TOOLS: &[&str] = &["completion", "tools"];
const THINKING: &[&str] = &["completion", "tools", "thinking"];
const VISION: &[&str] = &["completion", "vision"];
const EMBED: &[&str] = &["embedding"];
const INSERT: &[&str] = &["completion", "tools", "insert"];

/// Bytes on disk as `/api/tags` shows them; cache per token is 2 (key, value) × 2 bytes × layers × KV heads × head size.
#[rustfmt::skip]
const LIBRARY: &[Entry] = &[
    entry(&["llama3.2:latest", "llama3.2:3b"], 2_019_393_189, 114_688, "llama", "3.2B", "Q4_K_M", 131_072, 3_072, TOOLS),
    entry(&["llama3.2:1b"], 1_321_098_329, 32_768, "llama", "1.2B", "Q8_0", 131_072, 2_048, TOOLS),
    entry(&["llama3.1:latest", "llama3.1:8b"], 4_920_753_328, 131_072, "llama", "8.0B", "Q4_K_M", 131_072, 4_096, TOOLS),
    entry(&["llama3.3:latest", "llama3.3:70b", "llama3.1:70b"], 42_520_413_916, 327_680, "llama", "70.6B", "Q4_K_M", 131_072, 8_192, TOOLS),
    entry(&["llama3:latest", "llama3:8b"], 4_661_224_676, 131_072, "llama", "8.0B", "Q4_0", 8_192, 4_096, TEXT),
    last_line(entry(&["qwen3:latest", "qwen3:8b"], 5_225_388_164, 147_456, "qwen3", "8.2B", "Q4_K_M", 40_960, 4_096, THINKING)),
    last_line(entry(&["qwen3:0.6b"], 522_653_767, 114_688, "qwen3", "751.63M", "Q4_K_M", 40_960, 1_024, THINKING)),
    last_line(entry(&["qwen3:4b"], 2_497_293_931, 147_456, "qwen3", "4.0B", "Q4_K_M", 262_144, 2_560, THINKING)),
    last_line(entry(&["qwen3:14b"], 9_276_198_565, 163_840, "qwen3", "14.8B", "Q4_K_M", 40_960, 5_120, THINKING)),
    last_line(entry(&["qwen3:32b"], 20_201_253_588, 262_144, "qwen3", "32.8B", "Q4_K_M", 40_960, 5_120, THINKING)),
    last_line(entry(&["gpt-oss:latest", "gpt-oss:20b"], 13_793_441_244, 49_152, "gptoss", "20.9B", "MXFP4", 131_072, 2_880, THINKING)),
    entry(&["qwen2.5:latest", "qwen2.5:7b"], 4_683_087_332, 57_344, "qwen2", "7.6B", "Q4_K_M", 32_768, 3_584, TOOLS),
    entry(&["qwen2.5-coder:latest", "qwen2.5-coder:7b"], 4_683_087_561, 57_344, "qwen2", "7.6B", "Q4_K_M", 32_768, 3_584, INSERT),
    entry(&["gemma3:latest", "gemma3:4b"], 3_338_801_804, 139_264, "gemma3", "4.3B", "Q4_K_M", 131_072, 2_560, VISION),
    entry(&["gemma3:1b"], 815_319_791, 26_624, "gemma3", "999.89M", "Q4_K_M", 32_768, 1_152, TEXT),
    entry(&["gemma3:12b"], 8_149_190_253, 393_216, "gemma3", "12.2B", "Q4_K_M", 131_072, 3_840, VISION),
    entry(&["gemma3:27b"], 17_396_936_941, 507_904, "gemma3", "27.4B", "Q4_K_M", 131_072, 5_376, VISION),
    entry(&["mistral:latest", "mistral:7b"], 4_372_824_384, 131_072, "llama", "7.2B", "Q4_K_M", 32_768, 4_096, TOOLS),
    entry(&["mistral-nemo:latest", "mistral-nemo:12b"], 7_071_713_232, 163_840, "llama", "12.2B", "Q4_0", 1_024_000, 5_120, TOOLS),
    entry(&["codellama:latest", "codellama:7b"], 3_825_910_662, 524_288, "llama", "7B", "Q4_0", 16_384, 4_096, &["completion", "insert"]),
    entry(&["phi4:latest", "phi4:14b"], 9_053_116_391, 204_800, "phi3", "14.7B", "Q4_K_M", 16_384, 5_120, TEXT),
    last_line(entry(&["deepseek-r1:latest", "deepseek-r1:8b"], 5_225_376_047, 147_456, "qwen3", "8.2B", "Q4_K_M", 131_072, 4_096, THINKING)),
    last_line(entry(&["deepseek-r1:1.5b"], 1_117_322_768, 28_672, "qwen2", "1.8B", "Q4_K_M", 131_072, 1_536, THINKING)),
    last_line(entry(&["deepseek-r1:70b"], 42_520_397_873, 327_680, "llama", "70.6B", "Q4_K_M", 131_072, 8_192, THINKING)),
    entry(&["llava:latest", "llava:7b"], 4_733_363_377, 131_072, "llama", "7.2B", "Q4_0", 32_768, 4_096, VISION),
    entry(&["llama3.2-vision:latest", "llama3.2-vision:11b"], 7_816_589_186, 163_840, "mllama", "10.7B", "Q4_K_M", 131_072, 4_096, VISION),
    entry(&["qwen2.5vl:latest", "qwen2.5vl:7b"], 5_969_245_856, 57_344, "qwen25vl", "8.3B", "Q4_K_M", 128_000, 3_584, VISION),
    entry(&["nomic-embed-text:latest", "nomic-embed-text:v1.5"], 274_302_450, 0, "nomic-bert", "137M", "F16", 2_048, 768, EMBED),
    entry(&["mxbai-embed-large:latest", "mxbai-embed-large:335m"], 669_615_493, 0, "bert", "334M", "F16", 512, 1_024, EMBED),
    entry(&["all-minilm:latest", "all-minilm:22m"], 45_960_996, 0, "bert", "23M", "F16", 256, 384, EMBED),
    entry(&["bge-m3:latest", "bge-m3:567m"], 1_157_672_605, 0, "bert", "566.70M", "F16", 8_192, 1_024, EMBED),
];

#[expect(clippy::too_many_arguments, reason = "one row of a table")]
const fn entry(
    names: &'static [&'static str],
    size: u64,
    cache_per_token: u64,
    family: &'static str,
    parameters: &'static str,
    quantization: &'static str,
    context_length: u32,
    embedding_length: u32,
    capabilities: &'static [&'static str],
) -> Entry {
    Entry {
        names,
        size,
        cache_per_token,
        family,
        parameters,
        quantization,
        context_length,
        embedding_length,
        capabilities,
        calls_on_last_line: false,
    }
}

const fn last_line(mut entry: Entry) -> Entry {
    entry.calls_on_last_line = true;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_models_have_their_capabilities() {
        let llama = Model::parse("llama3.2").unwrap();
        assert!(llama.can("tools") && !llama.can("vision"));
        assert!(Model::parse("deepseek-r1:8b").unwrap().can("thinking"));
        assert!(Model::parse("llava").unwrap().can("vision"));
        assert!(!Model::parse("nomic-embed-text").unwrap().can("completion"));
    }

    #[test]
    fn a_stated_size_is_exact() {
        let model = Model::parse("thing:3b=10GiB").unwrap();
        assert_eq!((model.size, model.cache_per_token), (10 << 30, 0));
    }

    #[test]
    fn an_unknown_name_takes_its_size_from_its_tag() {
        assert_eq!(Model::parse("thing:20b").unwrap().size, 12_000_000_000);
        assert!(Model::parse("thing").unwrap().size > 1_000_000_000);
        assert!(Model::parse("a b").is_err());
        assert!(Model::parse("a=much").is_err());
    }

    #[test]
    fn no_name_is_listed_twice() {
        let mut names: Vec<_> = LIBRARY.iter().flat_map(|entry| entry.names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
