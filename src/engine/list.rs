//! Doubly linked lists through the slots of a slab: every step takes constant time, and no list
//! owns memory.

use std::marker::PhantomData;

const NONE: u32 = u32::MAX;
const UNLINKED: u32 = u32::MAX - 1;

/// A slot's place in one list, or in none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    prev: u32,
    next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { prev: UNLINKED, next: UNLINKED }
    }
}

impl Link {
    pub(crate) fn is_linked(self) -> bool {
        self.prev != UNLINKED
    }
}

/// Slots that carry a [`Link`] of the kind `K`.
pub(crate) trait Nodes<K> {
    /// The link of the slot at `at`, if there is such a slot.
    fn link(&mut self, at: u32) -> Option<&mut Link>;
}

/// A list of slots by their links of the kind `K`.
#[derive(Debug)]
pub(crate) struct List<K> {
    head: u32,
    tail: u32,
    len: u32,
    kind: PhantomData<K>,
}

impl<K> Default for List<K> {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0, kind: PhantomData }
    }
}

impl<K> List<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The slot that has been here longest.
    pub(crate) fn front(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// The slot behind one that is on a list.
    pub(crate) fn behind(nodes: &mut impl Nodes<K>, at: u32) -> Option<u32> {
        let link = nodes.link(at).filter(|link| link.is_linked())?;
        Some(link.next).filter(|next| *next != NONE)
    }

    /// Appends a slot that is on no list of this kind. Returns whether it was.
    pub(crate) fn push_back(&mut self, nodes: &mut impl Nodes<K>, at: u32) -> bool {
        let tail = self.tail;
        match nodes.link(at) {
            Some(link) if !link.is_linked() => *link = Link { prev: tail, next: NONE },
            _ => return false,
        }
        match nodes.link(tail) {
            Some(last) => last.next = at,
            None => self.head = at,
        }
        self.tail = at;
        self.len = self.len.saturating_add(1);
        true
    }

    /// Takes a slot of this list out of it. Returns whether it was on one.
    pub(crate) fn remove(&mut self, nodes: &mut impl Nodes<K>, at: u32) -> bool {
        let Some(link) = nodes.link(at).filter(|link| link.is_linked()) else {
            return false;
        };
        let Link { prev, next } = std::mem::take(link);
        match nodes.link(prev) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match nodes.link(next) {
            Some(behind) => behind.prev = prev,
            None => self.tail = prev,
        }
        self.len = self.len.saturating_sub(1);
        true
    }

    /// The slots in order, or what is wrong with the links.
    #[cfg(test)]
    pub(crate) fn audit(&self, nodes: &mut impl Nodes<K>) -> Result<Vec<u32>, String> {
        let mut slots = Vec::new();
        let (mut prev, mut at) = (NONE, self.head);
        while at != NONE {
            let link = nodes.link(at).copied().filter(|link| link.is_linked());
            let Some(link) = link.filter(|link| link.prev == prev) else {
                return Err(format!("slot {at} is not linked to {prev}"));
            };
            slots.push(at);
            (prev, at) = (at, link.next);
            if slots.len() > self.len as usize {
                return Err(format!("more than {} slots are linked", self.len));
            }
        }
        if prev != self.tail || slots.len() != self.len as usize {
            return Err(format!("{} of {} slots are linked, up to {prev}", slots.len(), self.len));
        }
        Ok(slots)
    }

    /// Takes the front slot out.
    pub(crate) fn pop_front(&mut self, nodes: &mut impl Nodes<K>) -> Option<u32> {
        let at = self.front()?;
        self.remove(nodes, at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    struct Slots(Vec<Link>);

    impl Nodes<()> for Slots {
        fn link(&mut self, at: u32) -> Option<&mut Link> {
            self.0.get_mut(at as usize)
        }
    }

    fn contents(list: &List<()>, slots: &Slots) -> Vec<u32> {
        let mut at = list.head;
        let mut found = Vec::new();
        while at != NONE {
            found.push(at);
            at = slots.0[at as usize].next;
        }
        found
    }

    proptest! {
        #[test]
        fn behaves_as_a_queue(steps in prop::collection::vec((0_u8..3, 0_u32..12), 0..200)) {
            let mut slots = Slots(vec![Link::default(); 12]);
            let mut list = List::default();
            let mut model = VecDeque::new();
            for (step, at) in steps {
                match step {
                    0 => {
                        let fresh = !model.contains(&at);
                        prop_assert_eq!(list.push_back(&mut slots, at), fresh);
                        if fresh {
                            model.push_back(at);
                        }
                    }
                    1 => {
                        let place = model.iter().position(|other| *other == at);
                        prop_assert_eq!(list.remove(&mut slots, at), place.is_some());
                        place.and_then(|place| model.remove(place));
                    }
                    _ => prop_assert_eq!(list.pop_front(&mut slots), model.pop_front()),
                }
                prop_assert_eq!(list.len() as usize, model.len());
                prop_assert_eq!(list.front(), model.front().copied());
                prop_assert_eq!(contents(&list, &slots), Vec::from(model.clone()));
            }
        }
    }

    #[test]
    fn a_slot_that_is_not_there_changes_nothing() {
        let mut slots = Slots(vec![Link::default(); 1]);
        let mut list = List::default();
        assert!(!list.push_back(&mut slots, 7));
        assert!(!list.remove(&mut slots, 0));
        assert!(list.is_empty());
    }
}
