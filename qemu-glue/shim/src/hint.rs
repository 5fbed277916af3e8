//! Hinting the whole set, before QEMU has sent any page.

use page_number::PAGE_BYTES;

use crate::hypervisor::Hypervisor;
use crate::skip::Skip;

impl Skip {
    /// Hints every run; those that touch in RAM go together, since a hint locks the migration's bitmap.
    pub(crate) fn hint(&self, vm: &impl Hypervisor) {
        // Block, offset and end of what is not hinted yet.
        let mut open = (0, 0, 0);
        for run in self.runs.iter() {
            let end = run.offset + u64::from(run.pages) * PAGE_BYTES;
            if (run.block, run.offset) == (open.0, open.2) {
                open.2 = end;
            } else {
                self.hint_one(vm, open);
                open = (run.block, run.offset, end);
            }
        }
        self.hint_one(vm, open);
    }

    fn hint_one(&self, vm: &impl Hypervisor, (block, offset, end): (u32, u64, u64)) {
        if let Some(block) = self.block(block)
            && offset < end
        {
            vm.hint(block, offset, end - offset);
        }
    }
}
