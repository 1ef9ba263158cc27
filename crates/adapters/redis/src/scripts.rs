//! The scripts. Each is atomic, in one slot, and begins with what all of them need: `part.lua`.

use std::sync::LazyLock;

use redis::Cmd;

/// A script's text, and the hash by which a server that has seen it knows it.
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            let text = concat!(include_str!("scripts/part.lua"), include_str!(concat!("scripts/", $file)));
            Script { text, hash: redis::Script::new(text).get_hash().to_owned() }
        });
    };
}

script!(LOOK, "look.lua");
script!(PUT, "put.lua");
script!(REMOVE, "remove.lua");
script!(INVALIDATE, "invalidate.lua");
script!(FOLLOW, "follow.lua");
script!(BEGIN, "begin.lua");

/// What a script is called with.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) keys: Vec<String>,
    pub(crate) arguments: Vec<Vec<u8>>,
}

impl Call {
    pub(crate) fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }

    pub(crate) fn with(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// By its hash.
    pub(crate) fn known(&self, script: &Script) -> Cmd {
        self.command("EVALSHA", &script.hash)
    }

    /// With its text, for a server that hasn't seen it.
    pub(crate) fn unknown(&self, script: &Script) -> Cmd {
        self.command("EVAL", script.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            command.arg(argument.as_slice());
        }
        command
    }
}
