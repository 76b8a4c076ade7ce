//! What a file says before substitutions are replaced.

use std::collections::BTreeMap;

use crate::error::Origin;

/// A value as written.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub node: Node,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Null,
    Text(String),
    Array(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
    /// Values next to each other, at least one of them a substitution or all of one kind.
    Concat(Vec<Part>),
    /// Values of one key, the strongest last, that only resolving can combine.
    Stack(Vec<Tree>),
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// Blanks between two parts; they count between texts only.
    Space(String),
    Tree(Tree),
    Substitution(Substitution),
}

#[derive(Clone, Debug)]
pub(crate) struct Substitution {
    pub path: Vec<String>,
    /// Where the file with it was included: `path` is looked for there first.
    pub included_at: Vec<String>,
    pub optional: bool,
    pub origin: Origin,
}

impl Tree {
    /// Whether the value depends on others.
    pub fn is_open(&self) -> bool {
        match &self.node {
            Node::Null | Node::Text(_) => false,
            Node::Array(items) => items.iter().any(Tree::is_open),
            Node::Object(fields) => fields.values().any(Tree::is_open),
            Node::Concat(_) | Node::Stack(_) => true,
        }
    }
}

/// `high` on top of `low`.
pub(crate) fn merge(low: Tree, high: Tree) -> Tree {
    let Tree { node, origin } = high;
    let node = match (low.node, node) {
        (Node::Object(mut fields), Node::Object(new)) => {
            for (key, value) in new {
                put(&mut fields, key, value);
            }
            Node::Object(fields)
        }
        (Node::Stack(mut stack), new) => {
            let new = Tree {
                node: new,
                origin: origin.clone(),
            };
            // Objects that follow each other become one, so that a stack grows with substitutions only.
            match (stack.pop(), new) {
                (Some(top), new) if both_objects(&top, &new) => stack.push(merge(top, new)),
                (top, new) => {
                    stack.extend(top);
                    extend(&mut stack, new);
                }
            }
            Node::Stack(stack)
        }
        (low_node, new) => {
            let new = Tree {
                node: new,
                origin: origin.clone(),
            };
            let low = Tree {
                node: low_node,
                origin: low.origin,
            };
            let hides = match &new.node {
                Node::Object(_) => !matches!(low.node, Node::Concat(_)),
                _ => !new.is_open(),
            };
            if hides {
                return new;
            }
            let mut stack = vec![low];
            extend(&mut stack, new);
            Node::Stack(stack)
        }
    };
    Tree { node, origin }
}

fn both_objects(a: &Tree, b: &Tree) -> bool {
    matches!((&a.node, &b.node), (Node::Object(_), Node::Object(_)))
}

fn extend(stack: &mut Vec<Tree>, new: Tree) {
    match new.node {
        Node::Stack(more) => stack.extend(more),
        node => {
            let new = Tree {
                node,
                origin: new.origin,
            };
            if !matches!(new.node, Node::Object(_)) && !new.is_open() {
                stack.clear();
            }
            stack.push(new);
        }
    }
}

/// Sets a key on top of what it has.
pub(crate) fn put(fields: &mut BTreeMap<String, Tree>, key: String, value: Tree) {
    let value = match fields.remove(&key) {
        Some(low) => merge(low, value),
        None => value,
    };
    fields.insert(key, value);
}
