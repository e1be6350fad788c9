;; Meets one resource of the host under three names, and lends and returns it through its own exports.
(component
  (import "test:shared/base@0.2.1" (instance $base
    (export "thing" (type (sub resource)))
    (export "make" (func (param "n" u32) (result (own 0))))))
  (alias export $base "thing" (type $thing))
  (import "test:shared/other@0.2.1" (instance $other
    (alias outer 1 $thing (type $t))
    (export "base-thing" (type $base-thing (eq $t)))
    (export "alias" (type $alias (eq $base-thing)))
    (export "look" (func (param "a" (borrow $base-thing)) (param "b" (borrow $alias)) (result u32)))))
  (core func $make (canon lower (func $base "make")))
  (core func $look (canon lower (func $other "look")))
  (core func $drop (canon resource.drop $thing))
  (core module $m
    (import "h" "make" (func $make (param i32) (result i32)))
    (import "h" "look" (func $look (param i32 i32) (result i32)))
    (import "h" "drop" (func $drop (param i32)))
    (func (export "both") (param i32) (result i32) (local $t i32) (local $r i32)
      (local.set $t (call $make (local.get 0)))
      (local.set $r (call $look (local.get $t) (local.get $t)))
      (call $drop (local.get $t))
      (local.get $r))
    (func (export "lent") (param i32) (result i32) (local $r i32)
      (local.set $r (call $look (local.get 0) (local.get 0)))
      (call $drop (local.get 0))
      (local.get $r))
    (func (export "pass") (param i32) (result i32) (local.get 0)))
  (core instance $i (instantiate $m (with "h" (instance
    (export "make" (func $make)) (export "look" (func $look)) (export "drop" (func $drop))))))
  (func (export "both") (param "n" u32) (result u32) (canon lift (core func $i "both")))
  (func (export "lent") (param "it" (borrow $thing)) (result u32) (canon lift (core func $i "lent")))
  (func (export "pass") (param "it" (own $thing)) (result (own $thing)) (canon lift (core func $i "pass"))))
