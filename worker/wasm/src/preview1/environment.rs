//! The environment of a command, as it is laid out in the module's memory.
//!
//! Takes names and values of any bytes; what stands behind a NUL in one would be a variable of its own, so that NULs
//! are left out. Pure.

/// The only argument, with its end: the program's name.
pub const NAME: &[u8] = b"function\0";

/// The variables: `NAME=value` and a NUL, one behind the other.
#[derive(Debug, Default)]
pub struct Environment {
    text: Vec<u8>,
    starts: Vec<u32>,
}

impl Environment {
    /// Adds a variable. All of them together are to be far below 4 GiB.
    pub fn set(&mut self, name: &str, value: &str) {
        self.starts.push(self.text.len() as u32);
        self.text.reserve(name.len() + value.len() + 2);
        self.text.extend_from_slice(name.as_bytes());
        self.text.push(b'=');
        if value.contains('\0') {
            self.text.extend(value.bytes().filter(|byte| *byte != 0));
        } else {
            self.text.extend_from_slice(value.as_bytes());
        }
        self.text.push(0);
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.starts.len() as u32
    }

    /// All of them.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where in the text each begins.
    pub fn starts(&self) -> impl Iterator<Item = u32> {
        self.starts.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_makes_another_variable() {
        let mut environment = Environment::default();
        environment.set("URL", "a\0PATH=b");
        environment.set("METHOD", "");
        assert_eq!(environment.text(), b"URL=aPATH=b\0METHOD=\0");
        assert_eq!(environment.starts().collect::<Vec<_>>(), [0, 12]);
        assert_eq!(environment.count(), 2);
    }
}
