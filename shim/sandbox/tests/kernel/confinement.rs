//! What a guest cannot do, whatever its spec says.

use expect_test::expect;

use crate::rig::Rig;

#[test]
fn sealed_code_gains_nothing() {
    expect![[r#"
        mmap: done
        mmap-exec: EACCES
        mprotect-exec: EACCES
        threads: true
    "#]]
    .assert_eq(&Rig::new().run(&["mmap", "mmap-exec", "mprotect-exec", "threads"]));
}
