//! The modules of a crate and the paths that they name.
//!
//! Role: reads Rust as tokens, so that comments, strings and formatting do not matter; `layering` and `house` judge
//! what it finds. Imports nothing of ours.
//! Always holds: every module file that is reachable from the crate's root is read, and a missing one is an error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Under which conditions code is compiled, as far as the rules tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Always.
    Open,
    /// With the feature `host`.
    Host,
    /// In tests.
    Test,
}

/// A path such as `crate::model::Pool`, with groups of a `use` written out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its segments. Leading `super` and `self` are resolved: such a path begins with `crate`.
    pub segments: Vec<String>,
    /// Line of its first segment.
    pub line: usize,
    /// When it is compiled.
    pub gate: Gate,
}

/// A method call, `.name(`, or a macro call, `name!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Name of the method (`.unwrap`) or macro (`todo!`).
    pub name: String,
    /// Its line.
    pub line: usize,
    /// When it is compiled.
    pub gate: Gate,
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Paths that it names.
    pub paths: Vec<Named>,
    /// Methods and macros that it calls.
    pub calls: Vec<Called>,
    /// Modules that it declares and that are in other files, by their path below this one.
    modules: Vec<(Vec<String>, Gate)>,
}

/// One file of a crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Path of the module; empty for the root.
    pub path: Vec<String>,
    /// Its file.
    pub file: PathBuf,
    /// What it holds.
    pub contents: Contents,
}

/// Reads a crate from its root file on.
///
/// # Errors
/// When a file cannot be read or is not Rust, or a declared module has no file.
pub fn read_crate(root: &Path) -> Result<Vec<Module>> {
    let directory = root.parent().unwrap_or(Path::new("."));
    let mut modules = Vec::new();
    let mut waiting = vec![(Vec::new(), root.to_owned(), directory.to_owned(), Gate::Open)];
    while let Some((path, file, directory, gate)) = waiting.pop() {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let contents = read(&text, &path, gate).with_context(|| format!("in {}", file.display()))?;
        for (below, gate) in &contents.modules {
            let stem = below.iter().fold(directory.clone(), |dir, segment| dir.join(segment));
            let candidates = [stem.with_extension("rs"), stem.join("mod.rs")];
            let child = candidates
                .into_iter()
                .find(|file| file.is_file())
                .ok_or_else(|| anyhow!("{}: module {} has no file", file.display(), below.join("::")))?;
            let path = path.iter().chain(below).cloned().collect();
            waiting.push((path, child, stem, *gate));
        }
        modules.push(Module { path, file, contents });
    }
    modules.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(modules)
}

/// Reads one file that is the module `path`.
///
/// # Errors
/// When it is not Rust.
pub fn read(text: &str, path: &[String], gate: Gate) -> Result<Contents> {
    let stream: TokenStream = text.parse().map_err(|error| anyhow!("not Rust: {error}"))?;
    let mut reader = Reader { contents: Contents::default(), file_depth: path.len() };
    let mut module = path.to_vec();
    reader.block(&stream.into_iter().collect::<Vec<_>>(), &mut module, gate);
    Ok(reader.contents)
}

struct Reader {
    contents: Contents,
    /// Length of the path of the file's module.
    file_depth: usize,
}

impl Reader {
    /// Reads a sequence of tokens that is the body of `module` or of something in it.
    fn block(&mut self, tokens: &[TokenTree], module: &mut Vec<String>, gate: Gate) {
        let mut gate = gate;
        let mut index = 0;
        while index < tokens.len() {
            index += if let Some((condition, length)) = inner_gate(&tokens[index..]) {
                gate = gate.max(condition);
                length
            } else if let Some((condition, length)) = outer_gate(&tokens[index..]) {
                let end = index + length + item_length(&tokens[index + length..]);
                self.block(&tokens[index + length..end], module, gate.max(condition));
                end - index
            } else {
                self.one(tokens, index, module, gate)
            };
        }
    }

    /// Reads what begins at `index`; returns how many tokens it took.
    fn one(&mut self, tokens: &[TokenTree], index: usize, module: &mut Vec<String>, gate: Gate) -> usize {
        match &tokens[index] {
            TokenTree::Ident(word) if word == "mod" => self.module(&tokens[index..], module, gate),
            TokenTree::Ident(_) => self.word(tokens, index, module, gate),
            TokenTree::Group(group) => {
                self.block(&group.stream().into_iter().collect::<Vec<_>>(), module, gate);
                1
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => 1,
        }
    }

    /// `mod name;` or `mod name { … }`.
    fn module(&mut self, tokens: &[TokenTree], module: &mut Vec<String>, gate: Gate) -> usize {
        let [_, TokenTree::Ident(name), next, ..] = tokens else { return 1 };
        module.push(name.to_string());
        match next {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                self.block(&body.stream().into_iter().collect::<Vec<_>>(), module, gate);
            }
            _ => self.contents.modules.push((module[self.file_depth..].to_vec(), gate)),
        }
        module.pop();
        3
    }

    /// A path, a call, or a word alone.
    fn word(&mut self, tokens: &[TokenTree], index: usize, module: &[String], gate: Gate) -> usize {
        let mut found = Vec::new();
        let taken = path(&tokens[index..], &[], &mut found);
        let after = tokens.get(index + taken);
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        let is_method = before.is_some_and(|token| is_punct(token, '.'));
        let is_imported = before.is_some_and(|token| is_word(token, "use"));
        for (segments, line) in found {
            if is_method {
                let is_call =
                    matches!(after, Some(TokenTree::Group(it)) if it.delimiter() == Delimiter::Parenthesis);
                if is_call && segments.len() == 1 {
                    self.contents.calls.push(Called { name: format!(".{}", segments[0]), line, gate });
                }
                continue;
            }
            if let (Some(token), Some(name)) = (after, segments.last())
                && is_punct(token, '!')
            {
                self.contents.calls.push(Called { name: format!("{name}!"), line, gate });
            }
            if segments.len() > 1 || is_imported {
                self.contents.paths.push(Named { segments: resolved(segments, module), line, gate });
            }
        }
        taken
    }
}

/// Reads a path at the start of `tokens`, with the trees of a `use` below it; returns how many tokens it took.
fn path(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut segments = prefix.to_vec();
    let mut line = 0;
    let mut index = 0;
    loop {
        match tokens.get(index) {
            Some(TokenTree::Ident(word)) => {
                segments.push(word.to_string());
                line = if line == 0 { word.span().start().line } else { line };
                index += 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && index > 0 => {
                trees(&group.stream().into_iter().collect::<Vec<_>>(), &segments, found);
                return index + 1;
            }
            _ => break,
        }
        let is_separator = tokens.get(index).is_some_and(|token| is_punct(token, ':'))
            && tokens.get(index + 1).is_some_and(|token| is_punct(token, ':'));
        if !is_separator {
            break;
        }
        index += 2;
    }
    if segments.len() > prefix.len() {
        found.push((segments, line));
    }
    index.max(1)
}

/// The comma-separated trees in the braces of a `use`.
fn trees(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) {
    for tree in tokens.split(|token| is_punct(token, ',')) {
        match tree {
            [] => {}
            [TokenTree::Punct(star)] if star.as_char() == '*' => {
                found.push((prefix.to_vec(), star.span().start().line));
            }
            _ => {
                path(tree, prefix, found);
            }
        }
    }
}

/// A path from the crate's root, when it begins with `self` or `super`.
fn resolved(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let ups = segments.iter().take_while(|segment| *segment == "super").count();
    let here = usize::from(segments.first().is_some_and(|segment| segment == "self"));
    if ups + here == 0 {
        return segments;
    }
    let kept = module.len().saturating_sub(ups);
    let mut absolute = vec!["crate".to_owned()];
    absolute.extend_from_slice(&module[..kept]);
    absolute.extend(segments.into_iter().skip(ups.max(here)));
    absolute
}

/// `#![cfg(…)]`: its gate and how many tokens it takes.
fn inner_gate(tokens: &[TokenTree]) -> Option<(Gate, usize)> {
    let [hash, bang, TokenTree::Group(attribute), ..] = tokens else { return None };
    let is_inner = is_punct(hash, '#') && is_punct(bang, '!') && attribute.delimiter() == Delimiter::Bracket;
    is_inner.then(|| gate_of(&attribute.stream())).flatten().map(|gate| (gate, 3))
}

/// `#[cfg(…)]`: its gate and how many tokens it takes.
fn outer_gate(tokens: &[TokenTree]) -> Option<(Gate, usize)> {
    let [hash, TokenTree::Group(attribute), ..] = tokens else { return None };
    let is_outer = is_punct(hash, '#') && attribute.delimiter() == Delimiter::Bracket;
    is_outer.then(|| gate_of(&attribute.stream())).flatten().map(|gate| (gate, 2))
}

/// The gate of `cfg(…)`, or of `test` and the like; none for another attribute and for a condition that is negated.
fn gate_of(attribute: &TokenStream) -> Option<Gate> {
    let tokens: Vec<TokenTree> = attribute.clone().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name)] if name == "test" => Some(Gate::Test),
        [TokenTree::Ident(name), TokenTree::Group(condition)] if name == "cfg" => {
            condition_gate(condition.stream())
        }
        _ => None,
    }
}

/// The gate of a condition. `any(a, b)` is as open as its most open part; `all(a, b)` as closed as its most closed.
fn condition_gate(condition: TokenStream) -> Option<Gate> {
    let tokens: Vec<TokenTree> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name)] if name == "test" => Some(Gate::Test),
        [TokenTree::Ident(name), _, value] if name == "feature" && value.to_string() == "\"host\"" => {
            Some(Gate::Host)
        }
        [TokenTree::Ident(name), TokenTree::Group(parts)] if name == "any" || name == "all" => {
            let parts: Vec<TokenTree> = parts.stream().into_iter().collect();
            let gates = parts
                .split(|token| is_punct(token, ','))
                .filter(|part| !part.is_empty())
                .map(|part| condition_gate(part.iter().cloned().collect()).unwrap_or(Gate::Open));
            if name == "any" { gates.min() } else { gates.max() }.filter(|gate| *gate != Gate::Open)
        }
        _ => None,
    }
}

/// How many tokens the item at the start takes: up to its `;` or its braces.
fn item_length(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    };
    tokens.iter().position(ends).map_or(tokens.len(), |last| last + 1)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn is_word(token: &TokenTree, text: &str) -> bool {
    matches!(token, TokenTree::Ident(word) if word == text)
}

#[cfg(test)]
mod tests;
