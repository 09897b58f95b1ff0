#include "textflag.h"

// Vector kernels of the two passes of resampling. They compute the same integers as columns8Go and row8Go:
// each weight is split into its low 15 bits and the rest, both are multiplied and summed apart, and the sums are put
// together at the end, modulo 2^32 as there.

// Four pixels of three bytes to words: pixels 0 and 1 in the low lane, 2 and 3 in the high one.
DATA pixels<>+0(SB)/8, $0x8004800180038000
DATA pixels<>+8(SB)/8, $0x8080808080058002
DATA pixels<>+16(SB)/8, $0x800a800780098006
DATA pixels<>+24(SB)/8, $0x80808080800b8008
GLOBL pixels<>(SB), RODATA|NOPTR, $32

// Four weights: the first pair in each place of the low lane, the second in the high lane.
DATA weights<>+0(SB)/8, $0x0302010003020100
DATA weights<>+8(SB)/8, $0x0302010003020100
DATA weights<>+16(SB)/8, $0x0706050407060504
DATA weights<>+24(SB)/8, $0x0706050407060504
GLOBL weights<>(SB), RODATA|NOPTR, $32

DATA half<>+0(SB)/8, $0x0020000000200000
DATA half<>+8(SB)/8, $0x0020000000200000
DATA half<>+16(SB)/8, $0x0020000000200000
DATA half<>+24(SB)/8, $0x0020000000200000
GLOBL half<>(SB), RODATA|NOPTR, $32

// One group of four taps of a row at SI+offset: the weights are in Y10 (low) and Y11 (high).
#define TAPS(row, low, high) \
	VBROADCASTI128 (row)(R9*1), Y8  \
	VPSHUFB        Y14, Y8, Y8      \
	VPMADDWD       Y10, Y8, Y9      \
	VPMADDWD       Y11, Y8, Y8      \
	VPADDD         Y9, low, low     \
	VPADDD         Y8, high, high

// The same with AVX-512's multiply-and-accumulate.
#define TAPSVNNI(row, low, high) \
	VBROADCASTI128 (row)(R9*1), Y8  \
	VPSHUFB        Y14, Y8, Y8      \
	VPDPWSSD       Y10, Y8, low     \
	VPDPWSSD       Y11, Y8, high

// The sums of two rows to two pixels, in the low and the high lane of low.
#define FINISH(low0, high0, low1, high1, x0) \
	VPSLLD      $15, high0, high0     \
	VPSLLD      $15, high1, high1     \
	VPADDD      high0, low0, low0     \
	VPADDD      high1, low1, low1     \
	VPERM2I128  $0x20, low1, low0, Y8 \
	VPERM2I128  $0x31, low1, low0, Y9 \
	VPADDD      Y9, Y8, Y8            \
	VPADDD      Y13, Y8, Y8           \
	VPSRAD      $22, Y8, Y8           \
	VPACKSSDW   Y8, Y8, Y8            \
	VPACKUSWB   Y8, Y8, low0

// DI, AX: destination and its stride; SI, BX: source and its stride; DX: offsets; R8: weights; R10: groups; CX: pixels.
#define COLUMNS(TAP) \
	LEAQ    (SI)(BX*1), R11 \
	LEAQ    (SI)(BX*2), R12 \
	LEAQ    (R11)(BX*2), R13 \
	LEAQ    (AX)(AX*2), BX \
	VMOVDQU pixels<>(SB), Y14 \
	VMOVDQU weights<>(SB), Y12 \
	VMOVDQU half<>(SB), Y13 \
pixel: \
	MOVLQSX (DX), R9 \
	ADDQ    $4, DX \
	MOVQ    R10, R15 \
	VPXOR   Y0, Y0, Y0 \
	VPXOR   Y1, Y1, Y1 \
	VPXOR   Y2, Y2, Y2 \
	VPXOR   Y3, Y3, Y3 \
	VPXOR   Y4, Y4, Y4 \
	VPXOR   Y5, Y5, Y5 \
	VPXOR   Y6, Y6, Y6 \
	VPXOR   Y7, Y7, Y7 \
group: \
	VPBROADCASTQ (R8), Y10 \
	VPBROADCASTQ 8(R8), Y11 \
	VPSHUFB      Y12, Y10, Y10 \
	VPSHUFB      Y12, Y11, Y11 \
	TAP(SI, Y0, Y1) \
	TAP(R11, Y2, Y3) \
	TAP(R12, Y4, Y5) \
	TAP(R13, Y6, Y7) \
	ADDQ $12, R9 \
	ADDQ $16, R8 \
	DECQ R15 \
	JNZ  group \
	FINISH(Y0, Y1, Y2, Y3, X0) \
	FINISH(Y4, Y5, Y6, Y7, X4) \
	VEXTRACTI128 $1, Y0, X1 \
	VEXTRACTI128 $1, Y4, X5 \
	VMOVD X0, (DI) \
	VMOVD X1, (DI)(AX*1) \
	VMOVD X4, (DI)(AX*2) \
	VMOVD X5, (DI)(BX*1) \
	ADDQ  $3, DI \
	DECQ  CX \
	JNZ   pixel \
	VZEROUPPER \
	RET

// func columnsRGBAVX2(dst *byte, dstStride int, src *byte, srcStride int, offsets *int32, weights *int16, groups, n int)
TEXT ·columnsRGBAVX2(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), DI
	MOVQ dstStride+8(FP), AX
	MOVQ src+16(FP), SI
	MOVQ srcStride+24(FP), BX
	MOVQ offsets+32(FP), DX
	MOVQ weights+40(FP), R8
	MOVQ groups+48(FP), R10
	MOVQ n+56(FP), CX
	COLUMNS(TAPS)

// func columnsRGBVNNI(dst *byte, dstStride int, src *byte, srcStride int, offsets *int32, weights *int16, groups, n int)
TEXT ·columnsRGBVNNI(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), DI
	MOVQ dstStride+8(FP), AX
	MOVQ src+16(FP), SI
	MOVQ srcStride+24(FP), BX
	MOVQ offsets+32(FP), DX
	MOVQ weights+40(FP), R8
	MOVQ groups+48(FP), R10
	MOVQ n+56(FP), CX
	COLUMNS(TAPSVNNI)

// Eight pixels' words of two rows: the weights are in Y10 (low) and Y11 (high).
#define PAIR(in, low, high) \
	VPMADDWD Y10, in, Y12     \
	VPMADDWD Y11, in, in      \
	VPADDD   Y12, low, low    \
	VPADDD   in, high, high

#define PAIRVNNI(in, low, high) \
	VPDPWSSD Y10, in, low     \
	VPDPWSSD Y11, in, high

#define JOIN(low, high) \
	VPSLLD $15, high, high    \
	VPADDD high, low, low     \
	VPADDD Y13, low, low      \
	VPSRAD $22, low, low

// DI: destination; SI, AX: source and its stride; DX: weights; R10: pairs; CX: bytes. BX is where a block of 32 bytes
// starts; the last block is moved back so that it ends where the row does.
#define ROWS(ADDPAIR) \
	SUBQ    $32, CX \
	XORQ    BX, BX \
	VMOVDQU half<>(SB), Y13 \
	VPXOR   Y14, Y14, Y14 \
block: \
	CMPQ    BX, CX \
	CMOVQGT CX, BX \
	LEAQ    (SI)(BX*1), R11 \
	MOVQ    DX, R8 \
	MOVQ    R10, R15 \
	VPXOR   Y0, Y0, Y0 \
	VPXOR   Y1, Y1, Y1 \
	VPXOR   Y2, Y2, Y2 \
	VPXOR   Y3, Y3, Y3 \
	VPXOR   Y4, Y4, Y4 \
	VPXOR   Y5, Y5, Y5 \
	VPXOR   Y6, Y6, Y6 \
	VPXOR   Y7, Y7, Y7 \
pair: \
	VPBROADCASTD (R8), Y10 \
	VPBROADCASTD 4(R8), Y11 \
	VMOVDQU      (R11), Y8 \
	VMOVDQU      (R11)(AX*1), Y9 \
	VPUNPCKLBW   Y9, Y8, Y15 \
	VPUNPCKHBW   Y9, Y8, Y8 \
	VPUNPCKLBW   Y14, Y15, Y9 \
	VPUNPCKHBW   Y14, Y15, Y15 \
	ADDPAIR(Y9, Y0, Y1) \
	ADDPAIR(Y15, Y2, Y3) \
	VPUNPCKLBW   Y14, Y8, Y9 \
	VPUNPCKHBW   Y14, Y8, Y8 \
	ADDPAIR(Y9, Y4, Y5) \
	ADDPAIR(Y8, Y6, Y7) \
	LEAQ (R11)(AX*2), R11 \
	ADDQ $8, R8 \
	DECQ R15 \
	JNZ  pair \
	JOIN(Y0, Y1) \
	JOIN(Y2, Y3) \
	JOIN(Y4, Y5) \
	JOIN(Y6, Y7) \
	VPACKSSDW Y2, Y0, Y0 \
	VPACKSSDW Y6, Y4, Y4 \
	VPACKUSWB Y4, Y0, Y0 \
	VMOVDQU   Y0, (DI)(BX*1) \
	CMPQ BX, CX \
	JEQ  done \
	ADDQ $32, BX \
	JMP  block \
done: \
	VZEROUPPER \
	RET

// func rowsAVX2(dst, src *byte, stride int, weights *int16, pairs, n int)
TEXT ·rowsAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ stride+16(FP), AX
	MOVQ weights+24(FP), DX
	MOVQ pairs+32(FP), R10
	MOVQ n+40(FP), CX
	ROWS(PAIR)

// func rowsVNNI(dst, src *byte, stride int, weights *int16, pairs, n int)
TEXT ·rowsVNNI(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ stride+16(FP), AX
	MOVQ weights+24(FP), DX
	MOVQ pairs+32(FP), R10
	MOVQ n+40(FP), CX
	ROWS(PAIRVNNI)
