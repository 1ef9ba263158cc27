//! Entries in the order of their use, bounded by their number and their weight.

use hashbrown::DefaultHashBuilder;
use hashlink::LinkedHashMap;

pub(crate) struct Lru<T> {
    /// The least recently used comes first.
    map: LinkedHashMap<u64, Weighed<T>, DefaultHashBuilder>,
    entries: usize,
    weight: usize,
    used: usize,
}

struct Weighed<T> {
    value: T,
    weight: usize,
}

impl<T> Lru<T> {
    pub(crate) fn bounded(entries: usize, weight: usize) -> Self {
        Self { map: LinkedHashMap::with_hasher(DefaultHashBuilder::default()), entries, weight, used: 0 }
    }

    /// Finds it, and counts that as a use.
    pub(crate) fn touch(&mut self, hash: u64) -> Option<&T> {
        self.map.to_back(&hash).map(|weighed| &weighed.value)
    }

    pub(crate) fn peek(&self, hash: u64) -> Option<&T> {
        self.map.get(&hash).map(|weighed| &weighed.value)
    }

    /// Adds what isn't there, after it made room: never is there more than the bounds allow. Says how many had to go, or
    /// `None` if it can't have room.
    pub(crate) fn insert(&mut self, hash: u64, value: T, weight: usize) -> Option<u64> {
        self.remove(hash);
        if self.entries == 0 || weight > self.weight {
            return None;
        }
        let mut evicted = 0;
        while self.map.len() >= self.entries || self.used > self.weight - weight {
            let (_, least) = self.map.pop_front()?;
            self.used -= least.weight;
            evicted += 1;
        }
        self.used += weight;
        self.map.insert(hash, Weighed { value, weight });
        Some(evicted)
    }

    pub(crate) fn remove(&mut self, hash: u64) {
        if let Some(weighed) = self.map.remove(&hash) {
            self.used -= weighed.weight;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
        self.used = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::Lru;

    fn filled() -> Lru<char> {
        let mut lru = Lru::bounded(3, 100);
        for (hash, value) in [(1, 'a'), (2, 'b'), (3, 'c')] {
            assert_eq!(lru.insert(hash, value, 30), Some(0));
        }
        lru
    }

    #[test]
    fn the_least_recently_used_goes() {
        let mut lru = filled();
        assert_eq!(lru.touch(1), Some(&'a'));
        assert_eq!(lru.insert(4, 'd', 30), Some(1));
        assert_eq!([1, 2, 3, 4].map(|hash| lru.peek(hash).copied()), [Some('a'), None, Some('c'), Some('d')]);
        assert_eq!((lru.len(), lru.used()), (3, 90));
    }

    #[test]
    fn what_is_heavy_displaces_several() {
        let mut lru = filled();
        assert_eq!(lru.insert(4, 'd', 70), Some(2));
        assert_eq!((lru.len(), lru.used()), (2, 100));
        assert_eq!(lru.insert(5, 'e', 101), None, "it could never have room");
        assert_eq!((lru.len(), lru.used()), (2, 100), "and nothing goes for it");
    }

    #[test]
    fn what_is_replaced_weighs_no_more() {
        let mut lru = filled();
        assert_eq!(lru.insert(1, 'z', 40), Some(0));
        assert_eq!((lru.len(), lru.used()), (3, 100));
        lru.remove(1);
        assert_eq!((lru.len(), lru.used()), (2, 60));
    }
}
