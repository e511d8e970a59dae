//! How the engine is set up, for the compiler and for the guest alike.
//!
//! Wasmtime compares most of these settings with those that a `.cwasm` was made with and refuses
//! the file when they differ, so there is one function and no second place. What may differ (the
//! allocator, sizes of stacks) is set by [`crate::load`].

use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, ModuleVersionStrategy, PoolingAllocationConfig,
    Store, WasmBacktraceDetails,
};
use wherry_core::plan::Profile;

/// Written into every `.cwasm`. Precompiled code is only valid for the exact release of the
/// engine: a patch release may fix the code generator without changing the format.
const VERSION: &str = concat!("wherry-", env!("CARGO_PKG_VERSION"), "+wasmtime-48.0.8");

/// Images of linear memory up to this size are mapped copy-on-write from the `.cwasm`, even when
/// they are mostly holes. Interpreters carry 10 to 30 MB of data.
const DENSE_IMAGE_BYTES: u64 = 64 << 20;

pub(crate) fn config(profile: Profile) -> Config {
    let mut config = Config::new();
    config
        .module_version(ModuleVersionStrategy::Custom(VERSION.to_owned()))
        // Wasmtime's docs put the length limit at 255 bytes.
        .expect("a short version string")
        .epoch_interruption(profile == Profile::Service)
        .memory_guaranteed_dense_image_size(DENSE_IMAGE_BYTES)
        // Wasm backtraces do not need the unwinder's tables.
        .native_unwind_info(false)
        // Function names come from the name section. Lines would need the DWARF sections and a
        // parser for them in the process of the guest.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_component_model_async(true);
    config
}

/// A command may recurse deeply; pages of its stack that are not touched cost nothing.
const COMMAND_STACK_BYTES: usize = 4 << 20;

/// What host functions may need below a guest that has used up its own stack.
const HOST_STACK_BYTES: usize = 1 << 20;

/// Requests that run at once; others wait for their turn. The pool has a place for each.
pub(crate) const CONCURRENT_REQUESTS: u16 = 256;

/// Bytes that a place in the pool keeps between two requests, instead of giving them back.
const RESIDENT_MEMORY_BYTES: usize = 128 << 10;
const RESIDENT_TABLE_BYTES: usize = 16 << 10;

/// Places that keep them: an idle service stays small after a busy hour.
const WARM_PLACES: u32 = 16;

pub(crate) fn tune_for_command(config: &mut Config) {
    config
        .max_wasm_stack(COMMAND_STACK_BYTES)
        .async_stack_size(COMMAND_STACK_BYTES + HOST_STACK_BYTES);
}

/// A pool makes an instance per request cheap: nothing is mapped or unmapped, and what a request
/// has written is found with `PAGEMAP_SCAN` where the kernel has it (6.7).
pub(crate) fn tune_for_service(config: &mut Config) {
    let places = u32::from(CONCURRENT_REQUESTS);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(8 * places)
        .total_memories(2 * places)
        .total_tables(4 * places)
        .total_stacks(2 * places)
        .total_gc_heaps(places)
        .max_core_instances_per_component(64)
        .max_memories_per_component(16)
        .max_tables_per_component(64)
        .max_tables_per_module(16)
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(8 << 20)
        // Large programs of C++, Go and C# have more than the default of 20,000 functions.
        .table_elements(100_000)
        .linear_memory_keep_resident(RESIDENT_MEMORY_BYTES)
        .table_keep_resident(RESIDENT_TABLE_BYTES)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(WARM_PLACES);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
}

/// For code with interruption points that runs alone: nobody advances the epoch.
pub(crate) fn never_interrupt<T: 'static>(store: &mut Store<T>, profile: Profile) {
    if profile == Profile::Service {
        store.set_epoch_deadline(u64::MAX);
    }
}
