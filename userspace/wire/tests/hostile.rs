//! Lists that are made to harm whoever reads them.

use page_wire::{
    Bounds, List, ListError, ListReader, MAX_DEVICES, MAX_NAME_BYTES, ReadError, Run, encode,
};

#[path = "../examples/page_list_seeds/hostile.rs"]
mod hostile;

/// RAM of the VM that they are of.
const RAM: u64 = 256 << 20;

/// All runs, or why not.
fn read(bytes: &[u8], bounds: Bounds) -> Result<Vec<Run>, ListError> {
    let list = |error| match error {
        ReadError::List(error) => error,
        ReadError::Io(error) => panic!("memory failed: {error}"),
    };
    let mut reader = ListReader::open(bytes, bounds).map_err(list)?;
    let mut runs = Vec::new();
    while let Some(run) = reader.next_run().map_err(list)? {
        runs.push(run);
    }
    Ok(runs)
}

#[test]
fn a_thousand_hostile_lists_are_read_within_bounds() {
    let bounds = Bounds::of_ram(RAM);
    let (mut read_well, mut errors) = (0, std::collections::HashSet::new());
    for number in 0..1000 {
        let bytes = hostile::list(number);
        let parsed = List::parse(&bytes, bounds);
        let runs = parsed.as_ref().map(|list| list.runs().collect::<Vec<_>>());
        let read = read(&bytes, bounds);
        // Of two faults one may be seen first here, and the other there.
        assert_eq!(runs.ok(), read.ok(), "list {number}");
        match &parsed {
            Err(error) => {
                errors.insert(std::mem::discriminant(error));
            }
            Ok(list) => {
                read_well += 1;
                assert!(list.devices().len() <= MAX_DEVICES, "list {number}");
                assert!(list.devices().iter().all(|device| device.name().len() <= MAX_NAME_BYTES));
                assert!(list.runs().len() as u64 <= RAM / 4096, "list {number}");
                assert!(list.runs().all(|run| usize::from(run.device()) < list.devices().len()));
                let (mut again, count) = (Vec::new(), list.runs().len() as u64);
                encode(&mut again, &list.facts(), list.devices(), count, list.runs()).unwrap();
                assert!(List::parse(&again, bounds).unwrap().runs().eq(list.runs()));
            }
        }
    }
    println!("{read_well} of 1000 hostile lists can be read");
    // Neither all alike nor all refused: each kind of error comes up, and what only lies is read.
    assert!((100..900).contains(&read_well) && errors.len() == 8, "{read_well}, {}", errors.len());
}
