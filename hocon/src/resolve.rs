//! From [`Tree`]s to [`Value`]s.
//!
//! The value of a path is a list of layers, the strongest last. A substitution inside a layer that leads back
//! to that layer sees the layers below it only; that is how `path = ${path} more` works, and why a cycle ends.

use std::collections::BTreeMap;
use std::ptr;

use crate::error::{Error, Origin};
use crate::limits::{MAX_RESOLVE_DEPTH, MAX_RESOLVE_WORK};
use crate::parse::join;
use crate::tree::{Node, Part, Substitution, Tree};
use crate::value::{Data, Value};

pub(crate) fn resolve(root: &Tree, env: &dyn Fn(&str) -> Option<String>) -> Result<Value, Error> {
    let mut resolver = Resolver {
        root,
        env,
        active: Vec::new(),
        key: Vec::new(),
        work: 0,
    };
    match resolver.tree(root)? {
        Some(value) => Ok(value),
        None => Ok(Value::new(
            Data::Object(BTreeMap::new()),
            root.origin.clone(),
        )),
    }
}

#[derive(Clone)]
enum Layer<'a> {
    Tree(&'a Tree),
    Value(Value),
}

struct Resolver<'a> {
    root: &'a Tree,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Trees whose value is being made.
    active: Vec<&'a Tree>,
    /// Path of the value that is being made, for messages.
    key: Vec<String>,
    work: usize,
}

impl<'a> Resolver<'a> {
    fn error<T>(&self, origin: &Origin, reason: impl Into<String>) -> Result<T, Error> {
        let key = self
            .key
            .iter()
            .fold(String::new(), |path, key| join(&path, key));
        Err(Error::new(origin, &key, reason))
    }

    fn charge(&mut self, work: usize, origin: &Origin) -> Result<(), Error> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_RESOLVE_WORK {
            return self.error(
                origin,
                "the substitutions expand to too much; use fewer or smaller ones",
            );
        }
        Ok(())
    }

    fn is_active(&self, tree: &Tree) -> bool {
        self.active.iter().any(|&active| ptr::eq(active, tree))
    }

    /// `None` if the value consists of unset optional substitutions only.
    fn tree(&mut self, tree: &'a Tree) -> Result<Option<Value>, Error> {
        self.charge(1, &tree.origin)?;
        if self.active.len() >= MAX_RESOLVE_DEPTH {
            return self.error(
                &tree.origin,
                format!(
                    "more than {MAX_RESOLVE_DEPTH} values refer to each other; is there a cycle?"
                ),
            );
        }
        self.active.push(tree);
        let value = self.node(tree);
        self.active.pop();
        value
    }

    fn node(&mut self, tree: &'a Tree) -> Result<Option<Value>, Error> {
        let data = match &tree.node {
            Node::Null => Data::Null,
            Node::Text(text) => {
                self.charge(text.len() / 16, &tree.origin)?;
                Data::Text(text.clone())
            }
            Node::Array(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.extend(self.tree(item)?);
                }
                Data::Array(values)
            }
            Node::Object(fields) => {
                let mut values = BTreeMap::new();
                for (key, field) in fields {
                    self.key.push(key.clone());
                    if let Some(value) = self.tree(field)? {
                        values.insert(key.clone(), value);
                    }
                    self.key.pop();
                }
                Data::Object(values)
            }
            Node::Concat(parts) => return self.concat(parts, &tree.origin),
            Node::Stack(stack) => return self.layers(stack.iter().map(Layer::Tree).collect()),
        };
        Ok(Some(Value::new(data, tree.origin.clone())))
    }

    /// The value of layers, the strongest last.
    fn layers(&mut self, mut layers: Vec<Layer<'a>>) -> Result<Option<Value>, Error> {
        // From a value that is being made, only what is below it can be seen.
        let own = layers.iter().position(|layer| match layer {
            Layer::Tree(tree) => self.is_active(tree),
            Layer::Value(_) => false,
        });
        if let Some(own) = own {
            layers.truncate(own);
        }
        let mut found: Option<Value> = None;
        while let Some(layer) = layers.pop() {
            let value = match layer {
                Layer::Tree(tree) => self.tree(tree)?,
                Layer::Value(value) => Some(value),
            };
            let Some(value) = value else { continue };
            let is_object = value.as_object().is_some();
            match &mut found {
                None => found = Some(value),
                Some(high) if is_object => high.merge_under(value),
                Some(_) => break,
            }
            if !is_object {
                break;
            }
        }
        Ok(found)
    }

    fn concat(&mut self, parts: &'a [Part], origin: &Origin) -> Result<Option<Value>, Error> {
        let mut whole: Option<Value> = None;
        let mut blanks = "";
        for part in parts {
            let value = match part {
                Part::Space(space) => {
                    blanks = space;
                    continue;
                }
                Part::Tree(tree) => self.tree(tree)?,
                Part::Substitution(substitution) => self.substitution(substitution)?,
            };
            let between = std::mem::take(&mut blanks);
            let Some(value) = value else { continue };
            let place = value.origin().clone();
            whole = Some(match whole {
                None => value,
                Some(left) => {
                    let left_kind = left.kind();
                    let right_kind = value.kind();
                    match (left.into_data(), value.into_data()) {
                        (Data::Object(low), Data::Object(high)) => {
                            let mut high = Value::new(Data::Object(high), place);
                            high.merge_under(Value::new(Data::Object(low), origin.clone()));
                            high
                        }
                        (Data::Array(mut items), Data::Array(more)) => {
                            self.charge(more.len(), origin)?;
                            items.extend(more);
                            Value::new(Data::Array(items), place)
                        }
                        (left, right) => match (text_of(left), text_of(right)) {
                            (Some(left), Some(right)) => {
                                self.charge((left.len() + right.len()) / 16, origin)?;
                                Value::new(Data::Text(format!("{left}{between}{right}")), place)
                            }
                            _ => {
                                return self.error(
                                    origin,
                                    format!("{left_kind} and {right_kind} next to each other do not combine"),
                                );
                            }
                        },
                    }
                }
            });
        }
        Ok(whole.map(|value| Value::new(value.into_data(), origin.clone())))
    }

    fn substitution(&mut self, substitution: &'a Substitution) -> Result<Option<Value>, Error> {
        let Substitution {
            path,
            included_at,
            optional,
            origin,
        } = substitution;
        let mut value = None;
        if !included_at.is_empty() {
            let local: Vec<String> = included_at.iter().chain(path).cloned().collect();
            value = self.lookup(&local)?;
        }
        if value.is_none() {
            value = self.lookup(path)?;
        }
        if value.is_none() {
            let name = path.join(".");
            value = (self.env)(&name).map(|text| {
                Value::new(
                    Data::Text(text),
                    Origin::new(&format!("environment variable {name}"), 0),
                )
            });
        }
        if value.is_none() && !optional {
            let name = path
                .iter()
                .fold(String::new(), |path, key| join(&path, key));
            return self.error(
                origin,
                format!(
                    "`${{{name}}}` is not set (or refers to itself); set it, or write `${{?{name}}}` if it may \
                     be missing"
                ),
            );
        }
        Ok(value)
    }

    fn lookup(&mut self, path: &[String]) -> Result<Option<Value>, Error> {
        let mut layers = vec![Layer::Tree(self.root)];
        for key in path {
            let mut next = Vec::new();
            for layer in layers {
                self.step(layer, key, &mut next)?;
            }
            if next.is_empty() {
                return Ok(None);
            }
            layers = next;
        }
        // A stack that is being made is looked at layer by layer.
        let mut flat = Vec::new();
        for layer in layers {
            match layer {
                Layer::Tree(Tree {
                    node: Node::Stack(stack),
                    ..
                }) => {
                    flat.extend(stack.iter().map(Layer::Tree));
                }
                layer => flat.push(layer),
            }
        }
        self.charge(flat.len(), &self.root.origin)?;
        self.layers(flat)
    }

    /// Adds what `layer` has at `key` to `next`.
    fn step(
        &mut self,
        layer: Layer<'a>,
        key: &str,
        next: &mut Vec<Layer<'a>>,
    ) -> Result<(), Error> {
        match layer {
            Layer::Tree(tree) => {
                self.charge(1, &tree.origin)?;
                match &tree.node {
                    Node::Object(fields) => next.extend(fields.get(key).map(Layer::Tree)),
                    Node::Stack(stack) => {
                        for tree in stack {
                            self.step(Layer::Tree(tree), key, next)?;
                        }
                    }
                    Node::Concat(_) if !self.is_active(tree) => {
                        if let Some(value) = self.tree(tree)? {
                            self.step(Layer::Value(value), key, next)?;
                        }
                    }
                    Node::Concat(_) => {}
                    Node::Null | Node::Text(_) | Node::Array(_) => next.clear(),
                }
            }
            Layer::Value(value) => match value.into_data() {
                Data::Object(mut fields) => next.extend(fields.remove(key).map(Layer::Value)),
                _ => next.clear(),
            },
        }
        Ok(())
    }
}

fn text_of(data: Data) -> Option<String> {
    match data {
        Data::Text(text) => Some(text),
        Data::Null => Some("null".to_owned()),
        Data::Array(_) | Data::Object(_) => None,
    }
}
