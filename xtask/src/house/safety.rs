//! `ebpf-probes` is built for another target, where clippy's `undocumented_unsafe_blocks` does not reach.

use super::source::{Finding, Source};

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    if !source.is("rs") || !source.path.starts_with("ebpf-probes") {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let undocumented = |index: &usize| opens_unsafe(lines[*index]) && !documented(&lines[..*index]);
    (0..lines.len())
        .filter(undocumented)
        .map(|index| Finding { line: index + 1, message: "no `// SAFETY:` above".to_owned() })
        .collect()
}

fn opens_unsafe(line: &str) -> bool {
    !line.starts_with("//") && (line.contains("unsafe {") || line.starts_with("unsafe impl"))
}

/// Whether the comment that ends just above, perhaps above the head of the same statement, has the word.
fn documented(above: &[&str]) -> bool {
    let mut lines = above.iter().rev();
    let is_comment = |line: &&str| line.starts_with("//");
    let near = lines.by_ref().take(3).position(is_comment);
    let Some(near) = near else { return false };
    above[..above.len() - near]
        .iter()
        .rev()
        .take_while(|line| is_comment(line))
        .any(|line| line.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn a_block_without_its_reason_is_found() {
        let good = "// SAFETY: it is\n// so.\nlet a =\n    unsafe { b() };\n";
        assert_eq!(find_in(super::find, "ebpf-probes/src/a.rs", good), [0_usize; 0]);
        let bad = "// it is so\nlet a = unsafe { b() };\n";
        assert_eq!(find_in(super::find, "ebpf-probes/src/a.rs", bad), [2]);
        assert_eq!(find_in(super::find, "symbols/src/a.rs", bad), [0_usize; 0]);
    }
}
