//! Walks over JSON without building anything: where values begin and end.

use std::borrow::Cow;

use super::syntax::word_context;
use super::{ByteSpan, SyntaxError, unescape};

/// Arrays and objects may be nested this deep.
pub const MAX_DEPTH: usize = 512;

/// What a value's first byte says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl Kind {
    /// Returns the word that Go's type errors use for such a value.
    pub fn go_name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Bool => "bool",
            Kind::Null => "null",
        }
    }
}

/// A string literal as it stands in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// The literal from its opening quote to past the closing one.
    pub span: ByteSpan,
    /// Whether the literal holds a backslash.
    pub escaped: bool,
}

impl Literal {
    /// Returns the bytes between the quotes, still escaped.
    pub fn inside(self, body: &[u8]) -> &[u8] {
        &body[self.span.start + 1..self.span.end - 1]
    }

    /// Returns the text that the literal stands for.
    pub fn text(self, body: &[u8]) -> Cow<'_, str> {
        unescape(self.inside(body))
    }
}

const VALUE: &str = "looking for beginning of value";
const KEY: &str = "looking for beginning of object key string";

/// A position in a JSON text.
///
/// Objects are walked by the caller: [`Scanner::begin_object`], then [`Scanner::next_key`] until it
/// gives none, reading or skipping one value after each key. So are arrays, by [`Scanner::begin_array`] and
/// [`Scanner::next_item`].
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Scanner { bytes, at: 0 }
    }

    /// Creates a scanner that begins at the offset `at`.
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Scanner { bytes, at }
    }

    /// Returns the offset of the next byte to read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Moves to the next byte that is not white space and returns it.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Returns the kind of the value that follows, which is not read yet.
    pub fn kind(&mut self) -> Result<Kind, SyntaxError> {
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.invalid(VALUE)),
        }
    }

    /// Reads the `{` of an object.
    pub fn begin_object(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.invalid(VALUE)),
        }
    }

    /// Reads the next key and its colon, or the `}` that ends the object. `first` is true for the
    /// call right after [`Scanner::begin_object`].
    pub fn next_key(&mut self, first: bool) -> Result<Option<Literal>, SyntaxError> {
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b',') if !first => {
                self.at += 1;
                self.peek();
            }
            _ if !first => return Err(self.invalid("after object key:value pair")),
            _ => {}
        }
        self.key().map(Some)
    }

    /// Reads the `[` of an array.
    pub fn begin_array(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'[') => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.invalid(VALUE)),
        }
    }

    /// Reads up to the next item of an array, or past the `]` that ends it (false). `first` is true for the call right
    /// after [`Scanner::begin_array`].
    pub fn next_item(&mut self, first: bool) -> Result<bool, SyntaxError> {
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                match self.peek() {
                    Some(b']') => Err(self.invalid(VALUE)),
                    _ => Ok(true),
                }
            }
            _ if !first => Err(self.invalid("after array element")),
            _ => Ok(true),
        }
    }

    fn key(&mut self) -> Result<Literal, SyntaxError> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.invalid(KEY));
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return Err(self.invalid("after object key"));
        }
        self.at += 1;
        Ok(key)
    }

    /// Reads a string literal; the next byte (white space aside) must be its quote.
    pub fn string(&mut self) -> Result<Literal, SyntaxError> {
        if self.peek() != Some(b'"') {
            return Err(self.invalid(VALUE));
        }
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_prefix(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.skip_escape()?;
                }
                _ => return Err(self.invalid("in string literal")),
            }
        }
        self.at += 1;
        let span = ByteSpan {
            start,
            end: self.at,
        };
        Ok(Literal { span, escaped })
    }

    fn skip_escape(&mut self) -> Result<(), SyntaxError> {
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return Err(self.invalid("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.invalid("in string escape code")),
        }
        Ok(())
    }

    /// Reads one value of any kind and returns where it lay.
    pub fn skip_value(&mut self) -> Result<ByteSpan, SyntaxError> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Object | Kind::Array => self.skip_nested()?,
            _ => self.skip_scalar(kind)?,
        }
        Ok(ByteSpan {
            start,
            end: self.at,
        })
    }

    fn skip_scalar(&mut self, kind: Kind) -> Result<(), SyntaxError> {
        match kind {
            Kind::String => self.string().map(|_| ()),
            Kind::Number => self.skip_number(),
            Kind::Null => self.skip_word(b"null"),
            _ if self.bytes[self.at] == b't' => self.skip_word(b"true"),
            _ => self.skip_word(b"false"),
        }
    }

    fn skip_word(&mut self, word: &'static [u8]) -> Result<(), SyntaxError> {
        for (place, &letter) in word.iter().enumerate() {
            if self.bytes.get(self.at) != Some(&letter) {
                return Err(self.invalid(word_context(word, place)));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Skips a number: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn skip_number(&mut self) -> Result<(), SyntaxError> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, context: &'static str) -> Result<(), SyntaxError> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.invalid(context));
        }
        self.at += count;
        Ok(())
    }

    /// Passes, in an array where a value is due, over integers that a comma follows at once, as in a
    /// generate's `context` of a hundred thousand tokens. A value is still due afterwards.
    fn skip_integers(&mut self) {
        loop {
            let rest = &self.bytes[self.at..];
            let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let leading_zero = count > 1 && rest[0] == b'0';
            if count == 0 || leading_zero || rest.get(count) != Some(&b',') {
                return;
            }
            self.at += count + 1;
        }
    }

    /// Reads an array or object without recursion: one bit per level says which it is.
    fn skip_nested(&mut self) -> Result<(), SyntaxError> {
        let mut levels = Levels::default();
        loop {
            // A value is due.
            let kind = self.kind()?;
            match kind {
                Kind::Object => {
                    levels.push(true)?;
                    self.at += 1;
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                }
                Kind::Array => {
                    levels.push(false)?;
                    self.at += 1;
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                _ => self.skip_scalar(kind)?,
            }
            if self.close(&mut levels)? {
                return Ok(());
            }
        }
    }

    /// Reads, after a value or an opening bracket that is closed at once, closing brackets up to the
    /// next comma. True when the outermost level is closed.
    fn close(&mut self, levels: &mut Levels) -> Result<bool, SyntaxError> {
        loop {
            let in_object = levels.in_object();
            match (self.peek(), in_object) {
                (Some(b','), true) => {
                    self.at += 1;
                    self.peek();
                    self.key()?;
                    return Ok(false);
                }
                (Some(b','), false) => {
                    self.at += 1;
                    self.skip_integers();
                    return Ok(false);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    if levels.pop() {
                        return Ok(true);
                    }
                }
                (_, true) => return Err(self.invalid("after object key:value pair")),
                (_, false) => return Err(self.invalid("after array element")),
            }
        }
    }

    fn invalid(&self, context: &'static str) -> SyntaxError {
        match self.bytes.get(self.at) {
            None => SyntaxError::Eof,
            Some(&byte) => SyntaxError::Invalid {
                byte,
                context,
                at: self.at,
            },
        }
    }
}

/// Which of the open levels are objects, as bits.
#[derive(Default)]
struct Levels {
    objects: [u64; MAX_DEPTH / 64],
    depth: usize,
}

impl Levels {
    fn push(&mut self, object: bool) -> Result<(), SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(SyntaxError::TooDeep);
        }
        let bit = 1 << (self.depth % 64);
        let word = &mut self.objects[self.depth / 64];
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn in_object(&self) -> bool {
        let level = self.depth - 1;
        self.objects[level / 64] >> (level % 64) & 1 == 1
    }

    /// Returns true when no level is left.
    fn pop(&mut self) -> bool {
        self.depth -= 1;
        self.depth == 0
    }
}

/// Returns how many bytes come before the first quote, backslash or control character.
///
/// Eight at a time: the high bit of a byte of `hit` is set where one of the three is found; bytes
/// after the first hit may be wrong, and only the first is used.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = is_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let hit = (quote | backslash | control) & HIGH;
        if hit != 0 {
            return index * 8 + hit.trailing_zeros() as usize / 8;
        }
    }
    let done = words.len() * 8;
    let rest = &bytes[done..];
    let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1F);
    done + rest
        .iter()
        .position(|byte| !plain(byte))
        .unwrap_or(rest.len())
}

#[cfg(test)]
mod tests;
