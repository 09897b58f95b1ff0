#include "textflag.h"

// One dimension of eight columns: the product is rounded before it is added, as in dot.
#define TERM(offset, sum, t) \
	VMULPS offset(R9), Y8, t \
	VADDPS t, sum, sum

// func productAVX(dst, row, packed *float32, columns, dim int)
TEXT ·productAVX(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ row+8(FP), SI
	MOVQ packed+16(FP), BX
	MOVQ columns+24(FP), CX
	MOVQ dim+32(FP), DX
	MOVQ CX, R8
	SHLQ $2, R8

group:
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	MOVQ   BX, R9
	MOVQ   SI, R10
	MOVQ   DX, R11

dimension:
	VBROADCASTSS (R10), Y8
	TERM(0, Y0, Y9)
	TERM(32, Y1, Y10)
	TERM(64, Y2, Y11)
	TERM(96, Y3, Y12)
	TERM(128, Y4, Y13)
	TERM(160, Y5, Y14)
	TERM(192, Y6, Y15)
	TERM(224, Y7, Y9)
	ADDQ R8, R9
	ADDQ $4, R10
	DECQ R11
	JNZ  dimension

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ    $256, DI
	ADDQ    $256, BX
	SUBQ    $64, CX
	JNZ     group
	VZEROUPPER
	RET

// func countAtLeastAVX(similarities *float32, n int, threshold float32) int32
TEXT ·countAtLeastAVX(SB), NOSPLIT, $0-28
	MOVQ         similarities+0(FP), SI
	MOVQ         n+8(FP), CX
	VBROADCASTSS threshold+16(FP), Y1
	VPXOR        Y0, Y0, Y0

each:
	VMOVUPS (SI), Y2
	VCMPPS  $0x1D, Y1, Y2, Y3 // all ones where Y2 ≥ Y1
	VPSUBD  Y3, Y0, Y0
	ADDQ    $32, SI
	SUBQ    $8, CX
	JNZ     each

	VEXTRACTI128 $1, Y0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0x4E, X0, X1
	VPADDD       X1, X0, X0
	VPSHUFD      $0xB1, X0, X1
	VPADDD       X1, X0, X0
	VMOVD        X0, AX
	MOVL         AX, ret+24(FP)
	VZEROUPPER
	RET

// func countEachAVX(counts *int32, similarities, values *float32, n int)
TEXT ·countEachAVX(SB), NOSPLIT, $0-32
	MOVQ counts+0(FP), DI
	MOVQ similarities+8(FP), SI
	MOVQ values+16(FP), BX
	MOVQ n+24(FP), CX

next:
	VMOVUPS (SI), Y0
	VMOVUPS (BX), Y1
	VCMPPS  $0x1D, Y1, Y0, Y2
	VMOVDQU (DI), Y3
	VPSUBD  Y2, Y3, Y3
	VMOVDQU Y3, (DI)
	ADDQ    $32, SI
	ADDQ    $32, BX
	ADDQ    $32, DI
	SUBQ    $8, CX
	JNZ     next
	VZEROUPPER
	RET
