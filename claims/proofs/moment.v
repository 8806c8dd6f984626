(* The second moment C = K K^T of the old keys, the columns of K. Where it is invertible it is
   positive definite, so that the divisor of Eqn. 5's multiplier, k^T C^-1 k, is positive. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Rome Require Import norm.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Moment.
Variable R : realFieldType.

(* k^T C^-1 k, a number. *)
Definition divisor n (C : 'M[R]_n) (k : 'cV[R]_n) : R := (k^T *m invmx C *m k) 0 0.

Variables (n N : nat) (K : 'M[R]_(n, N)).
Let C : 'M[R]_n := K *m K^T.

Lemma moment_sym : C^T = C.
Proof. by rewrite /C trmx_mul trmxK. Qed.

Lemma inverse_sym : (invmx C)^T = invmx C.
Proof. by rewrite trmx_inv moment_sym. Qed.

Lemma transposed_direction e (Ks : 'M[R]_(n, e)) : (invmx C *m Ks)^T = Ks^T *m invmx C.
Proof. by rewrite trmx_mul inverse_sym. Qed.

Hypothesis C_unit : C \in unitmx.

(* The old keys span the space: X K = 0 forces X = 0. *)
Lemma keys_span p (X : 'M[R]_(p, n)) : X *m K = 0 -> X = 0.
Proof.
move=> XK0; have : X *m C = 0 by rewrite /C mulmxA XK0 mul0mx.
by move/(congr1 (mulmx^~ (invmx C))); rewrite mulmxK // mul0mx.
Qed.

(* k^T C^-1 k = |(C^-1 k)^T K|^2, because C^-1 = C^-1 K K^T C^-1. *)
Theorem divisor_is_norm (k : 'cV[R]_n) : divisor C k = norm2 ((invmx C *m k)^T *m K).
Proof.
rewrite norm2_trace [(_ *m K)^T]trmx_mul trmxK transposed_direction.
rewrite -[k^T *m invmx C *m K *m _]mulmxA [K *m (_ *m _)]mulmxA -/C.
by rewrite mulKVmx // /mxtrace big_ord1.
Qed.

Lemma divisor_eq0 (k : 'cV[R]_n) : divisor C k = 0 -> k = 0.
Proof.
rewrite divisor_is_norm => /norm2_eq0 /keys_span /(congr1 trmx); rewrite trmxK trmx0.
by move/(congr1 (mulmx C)); rewrite mulKVmx // mulmx0.
Qed.

Theorem divisor_gt0 (k : 'cV[R]_n) : k != 0 -> 0 < divisor C k.
Proof.
move=> k0; rewrite lt_neqAle divisor_is_norm norm2_ge0 andbT eq_sym -divisor_is_norm.
by apply: contra k0 => /eqP /divisor_eq0 ->.
Qed.

End Moment.
