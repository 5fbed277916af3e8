//! References that lead in circles, out of the file, or to what they must not.

use super::super::Collection;
use super::super::dwarf::{
    Entry, IMPORT, MEMBER_LOCATION, NAME, ORIGIN, REF_SIG8, REF4, SPECIFICATION, TAG_FUNCTION,
    TAG_IMPORTED_UNIT, TAG_INHERITANCE, TAG_MEMBER, TAG_PARAMETER, TAG_TYPEDEF, TYPE, Unit,
};
use super::super::model::{FUNCTIONS, unit, with};

pub(super) fn add(files: &mut Collection) {
    files.kind("reference");
    let mut put = |change: &dyn Fn(&mut Unit)| {
        let mut unit = unit();
        change(&mut unit);
        files.add(with(&unit).bytes());
    };
    // A type that is itself, alone and over another.
    for (label, target) in [
        ("pointer", "pointer"),
        ("buf_page_t", "buf_page_t"),
        ("ulint", "unit"),
        ("ulint", FUNCTIONS[1]),
    ] {
        put(&|unit| unit.root.change(label, |entry| entry.without(TYPE).refer(TYPE, target)));
    }
    for (first, second) in [("one", "two"), ("one", "one")] {
        put(&|unit| {
            let alias = |label, target| {
                Entry::new(TAG_TYPEDEF).called(label).text(NAME, "buf_page_t").refer(TYPE, target)
            };
            unit.root.children.insert(0, alias("one", second));
            unit.root.children.insert(0, alias("two", first));
            unit.root.change("buf_block_t", |entry| aimed(entry, "one"));
        });
    }
    // A structure that has itself as its base or its only member, once and in a hundred ways.
    for (tag, count) in
        [(TAG_INHERITANCE, 1), (TAG_INHERITANCE, 100), (TAG_MEMBER, 1), (TAG_MEMBER, 100)]
    {
        put(&|unit| {
            unit.root.change("buf_block_t", |mut entry| {
                let inner = Entry::new(tag).refer(TYPE, "buf_block_t").number(MEMBER_LOCATION, 8);
                entry.children = vec![inner; count];
                entry
            });
        });
    }
    // A function that is a copy of itself, of a parameter, of what is a copy of it.
    for attribute in [ORIGIN, SPECIFICATION] {
        for target in [FUNCTIONS[1], "parameter", "inlined", "unit", "nobody"] {
            put(&|unit| unit.root.change(FUNCTIONS[1], |entry| entry.refer(attribute, target)));
            put(&|unit| {
                unit.root.change("inlined", |entry| entry.without(ORIGIN).refer(attribute, target))
            });
            put(&|unit| unit.root.change("first", |entry| entry.refer(attribute, target)));
        }
    }
    // Copies of a function, each with parameters, each a copy of the one before.
    put(&|unit| {
        let labels = ["a", "b", "c", "d", "e", "f"];
        for (index, label) in labels.iter().enumerate() {
            let target = labels[(index + 1) % labels.len()];
            let parameters = vec![Entry::new(TAG_PARAMETER).refer(TYPE, "ulint"); 60];
            let copy =
                Entry::new(TAG_FUNCTION).called(label).refer(ORIGIN, target).with(parameters);
            unit.root.children.push(copy);
        }
        unit.root.change(FUNCTIONS[1], |entry| entry.refer(ORIGIN, "a"));
    });
    // Places that no entry begins at, outside of the unit, and types of no unit.
    for offset in [0, 1, 11, 12, 40, 0x7fff_ffff, u32::MAX] {
        put(&|unit| {
            unit.root.change("parameter", |entry| {
                entry.without(TYPE).raw(TYPE, REF4, &offset.to_le_bytes())
            })
        });
        put(&|unit| {
            unit.root.change("inlined", |entry| {
                entry.without(ORIGIN).raw(ORIGIN, REF4, &offset.to_le_bytes())
            })
        });
    }
    put(&|unit| {
        unit.root.change("parameter", |entry| entry.without(TYPE).raw(TYPE, REF_SIG8, &[7; 8]))
    });
    // A unit that imports itself.
    for target in ["unit", "ulint", "nobody"] {
        put(&|unit| {
            let import = Entry::new(TAG_IMPORTED_UNIT).refer(IMPORT, target);
            unit.root.children.extend(vec![import; 200]);
        });
    }
}

/// Lets the members of a structure be of another type.
fn aimed(mut structure: Entry, target: &'static str) -> Entry {
    for member in &mut structure.children {
        *member = member.clone().without(TYPE).refer(TYPE, target);
    }
    structure
}
