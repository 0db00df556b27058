//! Ids that are the same in every environment and every version of the program.

use sha2::{Digest, Sha256};

/// The first half of the SHA-256 of texts, each preceded by its length. The standard library's hash may change with a
/// release, and two environments would then know the same alert by two ids.
pub(crate) fn hash<'a>(texts: impl IntoIterator<Item = &'a str>) -> u128 {
    let mut hash = Hash::default();
    texts.into_iter().for_each(|text| hash.add(text));
    hash.finish()
}

/// The same of texts that come one by one.
#[derive(Default)]
pub(crate) struct Hash(Sha256);

impl Hash {
    pub(crate) fn add(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text);
    }

    pub(crate) fn finish(self) -> u128 {
        self.0.finalize().iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn a_hash_never_changes_and_tells_texts_apart() {
        assert_eq!(hash(["5a1e05f5"]), 211_007_138_737_221_305_114_613_981_151_324_835_427);
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
    }
}
