;; A service that does what the first letter of the path says: /trap, /none, /spin, /grow (takes
;; memory until it gets no more, and gives up); else 200.
(module
  (import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.0" "[constructor]outgoing-response"
    (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.0" "[method]incoming-request.path-with-query"
    (func $path (param i32 i32)))
  (import "wasi:http/types@0.2.0" "[static]response-outparam.set"
    (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (global.get $top)
    (global.set $top (i32.and
      (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
      (i32.const -8))))
  (func $handle (export "wasi:http/incoming-handler@0.2.0#handle")
    (param $request i32) (param $out i32) (local $letter i32)
    ;; option<string> at 0: whether there is one, where, how long.
    (call $path (local.get $request) (i32.const 0))
    (local.set $letter (i32.load8_u offset=1 (i32.load (i32.const 4))))
    (if (i32.eq (local.get $letter) (i32.const 0x74)) (then unreachable))
    (if (i32.eq (local.get $letter) (i32.const 0x6e)) (then return))
    (if (i32.eq (local.get $letter) (i32.const 0x73)) (then (loop $forever (br $forever))))
    (if (i32.eq (local.get $letter) (i32.const 0x67)) (then
      (loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
      unreachable))
    (call $set
      (local.get $out) (i32.const 0) (call $response (call $fields))
      (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
