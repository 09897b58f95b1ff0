#include "textflag.h"

// Vector kernels for AVX2. Each computes the same integers as the Go function of the same name in idct.go and
// output.go; TestVector and the fuzz test compare them.

// The rows of idctC are pairs of 16-bit factors for VPMADDWD, in 13 bits of fraction: for the even half the factors of
// (x0, x2) and then (x4, x6), for the odd half of (x1, x3) and then (x5, x7). Offsets: E0 0, E1 64, E2 128, E3 192,
// O0 256, O1 320, O2 384, O3 448.
DATA idctC<>+0(SB)/8, $0x29cf200029cf2000
DATA idctC<>+8(SB)/8, $0x29cf200029cf2000
DATA idctC<>+16(SB)/8, $0x29cf200029cf2000
DATA idctC<>+24(SB)/8, $0x29cf200029cf2000
DATA idctC<>+32(SB)/8, $0x1151200011512000
DATA idctC<>+40(SB)/8, $0x1151200011512000
DATA idctC<>+48(SB)/8, $0x1151200011512000
DATA idctC<>+56(SB)/8, $0x1151200011512000
DATA idctC<>+64(SB)/8, $0x1151200011512000
DATA idctC<>+72(SB)/8, $0x1151200011512000
DATA idctC<>+80(SB)/8, $0x1151200011512000
DATA idctC<>+88(SB)/8, $0x1151200011512000
DATA idctC<>+96(SB)/8, $0xd630e000d630e000
DATA idctC<>+104(SB)/8, $0xd630e000d630e000
DATA idctC<>+112(SB)/8, $0xd630e000d630e000
DATA idctC<>+120(SB)/8, $0xd630e000d630e000
DATA idctC<>+128(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+136(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+144(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+152(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+160(SB)/8, $0x29d0e00029d0e000
DATA idctC<>+168(SB)/8, $0x29d0e00029d0e000
DATA idctC<>+176(SB)/8, $0x29d0e00029d0e000
DATA idctC<>+184(SB)/8, $0x29d0e00029d0e000
DATA idctC<>+192(SB)/8, $0xd6312000d6312000
DATA idctC<>+200(SB)/8, $0xd6312000d6312000
DATA idctC<>+208(SB)/8, $0xd6312000d6312000
DATA idctC<>+216(SB)/8, $0xd6312000d6312000
DATA idctC<>+224(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+232(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+240(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+248(SB)/8, $0xeeaf2000eeaf2000
DATA idctC<>+256(SB)/8, $0xe6dc08d4e6dc08d4
DATA idctC<>+264(SB)/8, $0xe6dc08d4e6dc08d4
DATA idctC<>+272(SB)/8, $0xe6dc08d4e6dc08d4
DATA idctC<>+280(SB)/8, $0xe6dc08d4e6dc08d4
DATA idctC<>+288(SB)/8, $0xd39d25a1d39d25a1
DATA idctC<>+296(SB)/8, $0xd39d25a1d39d25a1
DATA idctC<>+304(SB)/8, $0xd39d25a1d39d25a1
DATA idctC<>+312(SB)/8, $0xd39d25a1d39d25a1
DATA idctC<>+320(SB)/8, $0xd39e1925d39e1925
DATA idctC<>+328(SB)/8, $0xd39e1925d39e1925
DATA idctC<>+336(SB)/8, $0xd39e1925d39e1925
DATA idctC<>+344(SB)/8, $0xd39e1925d39e1925
DATA idctC<>+352(SB)/8, $0x25a108d525a108d5
DATA idctC<>+360(SB)/8, $0x25a108d525a108d5
DATA idctC<>+368(SB)/8, $0x25a108d525a108d5
DATA idctC<>+376(SB)/8, $0x25a108d525a108d5
DATA idctC<>+384(SB)/8, $0xf72d25a1f72d25a1
DATA idctC<>+392(SB)/8, $0xf72d25a1f72d25a1
DATA idctC<>+400(SB)/8, $0xf72d25a1f72d25a1
DATA idctC<>+408(SB)/8, $0xf72d25a1f72d25a1
DATA idctC<>+416(SB)/8, $0xe6dcd39ee6dcd39e
DATA idctC<>+424(SB)/8, $0xe6dcd39ee6dcd39e
DATA idctC<>+432(SB)/8, $0xe6dcd39ee6dcd39e
DATA idctC<>+440(SB)/8, $0xe6dcd39ee6dcd39e
DATA idctC<>+448(SB)/8, $0x25a12c6325a12c63
DATA idctC<>+456(SB)/8, $0x25a12c6325a12c63
DATA idctC<>+464(SB)/8, $0x25a12c6325a12c63
DATA idctC<>+472(SB)/8, $0x25a12c6325a12c63
DATA idctC<>+480(SB)/8, $0x08d4192508d41925
DATA idctC<>+488(SB)/8, $0x08d4192508d41925
DATA idctC<>+496(SB)/8, $0x08d4192508d41925
DATA idctC<>+504(SB)/8, $0x08d4192508d41925
GLOBL idctC<>(SB), RODATA|NOPTR, $512

// Rounding of the two passes; the second also moves the samples from -128…127 to 0…255.
DATA idctR1<>+0(SB)/8, $0x0000040000000400
DATA idctR1<>+8(SB)/8, $0x0000040000000400
DATA idctR1<>+16(SB)/8, $0x0000040000000400
DATA idctR1<>+24(SB)/8, $0x0000040000000400
GLOBL idctR1<>(SB), RODATA|NOPTR, $32

DATA idctR2<>+0(SB)/8, $0x0202000002020000
DATA idctR2<>+8(SB)/8, $0x0202000002020000
DATA idctR2<>+16(SB)/8, $0x0202000002020000
DATA idctR2<>+24(SB)/8, $0x0202000002020000
GLOBL idctR2<>(SB), RODATA|NOPTR, $32

// c0 c1 c2 c3 of two rows to c0 c2, c0 c2, c1 c3, c1 c3.
DATA idctS<>+0(SB)/8, $0x0d0c090805040100
DATA idctS<>+8(SB)/8, $0x0f0e0b0a07060302
DATA idctS<>+16(SB)/8, $0x0d0c090805040100
DATA idctS<>+24(SB)/8, $0x0f0e0b0a07060302
GLOBL idctS<>(SB), RODATA|NOPTR, $32

// A 4×4 transposition of bytes.
DATA idctT<>+0(SB)/8, $0x0d0905010c080400
DATA idctT<>+8(SB)/8, $0x0f0b07030e0a0602
DATA idctT<>+16(SB)/8, $0x0d0905010c080400
DATA idctT<>+24(SB)/8, $0x0f0b07030e0a0602
GLOBL idctT<>(SB), RODATA|NOPTR, $32

// One 8-point pass over Y0 = (x0, x2), Y1 = (x4, x6), Y2 = (x1, x3), Y3 = (x5, x7); the outputs are Y8 to Y15.
#define BUTTERFLY(even, odd, round, shift, first, second) \
	VPMADDWD idctC<>+(even)(SB), Y0, Y4     \
	VPMADDWD idctC<>+(even+32)(SB), Y1, Y5  \
	VPMADDWD idctC<>+(odd)(SB), Y2, Y6      \
	VPMADDWD idctC<>+(odd+32)(SB), Y3, Y7   \
	VPADDD   Y5, Y4, Y4                     \
	VPADDD   round, Y4, Y4                  \
	VPADDD   Y7, Y6, Y6                     \
	VPADDD   Y6, Y4, first                  \
	VPSUBD   Y6, Y4, second                 \
	VPSRAD   shift, first, first            \
	VPSRAD   shift, second, second

#define PASS(round, shift) \
	BUTTERFLY(0, 448, round, shift, Y8, Y15)   \
	BUTTERFLY(64, 384, round, shift, Y9, Y14)  \
	BUTTERFLY(128, 320, round, shift, Y10, Y13) \
	BUTTERFLY(192, 256, round, shift, Y11, Y12)

// Two rows of coefficients, multiplied by the quantisation table and interleaved: columns 0 to 3 in the low lane.
#define ROWS(a, b, out, xout) \
	VMOVDQU     (a*16)(SI), X8          \
	VMOVDQU     (b*16)(SI), X9          \
	VPMULLW     (a*16)(DX), X8, X8      \
	VPMULLW     (b*16)(DX), X9, X9      \
	VPUNPCKLWD  X9, X8, xout            \
	VPUNPCKHWD  X9, X8, X10             \
	VINSERTI128 $1, X10, out, out

// func idct8AVX2(dst *byte, stride int, block *[64]int16, quant *[64]uint16)
TEXT ·idct8AVX2(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ stride+8(FP), AX
	MOVQ block+16(FP), SI
	MOVQ quant+24(FP), DX

	ROWS(0, 2, Y0, X0)
	ROWS(4, 6, Y1, X1)
	ROWS(1, 3, Y2, X2)
	ROWS(5, 7, Y3, X3)
	PASS(idctR1<>(SB), $11)

	// Transpose: rows 0 1, 2 3, 4 5, 6 7 in words; then pairs of columns for all rows.
	VPACKSSDW   Y9, Y8, Y8
	VPACKSSDW   Y11, Y10, Y10
	VPACKSSDW   Y13, Y12, Y12
	VPACKSSDW   Y15, Y14, Y14
	VMOVDQU     idctS<>(SB), Y7
	VPSHUFB     Y7, Y8, Y8
	VPSHUFB     Y7, Y10, Y10
	VPSHUFB     Y7, Y12, Y12
	VPSHUFB     Y7, Y14, Y14
	VPUNPCKLQDQ Y10, Y8, Y4
	VPUNPCKHQDQ Y10, Y8, Y5
	VPUNPCKLQDQ Y14, Y12, Y6
	VPUNPCKHQDQ Y14, Y12, Y7
	VPERM2I128  $0x20, Y6, Y4, Y0
	VPERM2I128  $0x31, Y6, Y4, Y1
	VPERM2I128  $0x20, Y7, Y5, Y2
	VPERM2I128  $0x31, Y7, Y5, Y3
	PASS(idctR2<>(SB), $18)

	// Y8 to Y15 are the columns of the block: rows 0 to 3 in the low lane, 4 to 7 in the high one.
	VPACKSSDW   Y9, Y8, Y8
	VPACKSSDW   Y11, Y10, Y10
	VPACKSSDW   Y13, Y12, Y12
	VPACKSSDW   Y15, Y14, Y14
	VPACKUSWB   Y10, Y8, Y8
	VPACKUSWB   Y14, Y12, Y12
	VMOVDQU     idctT<>(SB), Y7
	VPSHUFB     Y7, Y8, Y8
	VPSHUFB     Y7, Y12, Y12
	VPUNPCKLDQ  Y12, Y8, Y0
	VPUNPCKHDQ  Y12, Y8, Y1
	VEXTRACTI128 $1, Y0, X2
	VEXTRACTI128 $1, Y1, X3
	LEAQ        (AX)(AX*2), BX
	LEAQ        (DI)(AX*4), CX
	VMOVQ       X0, (DI)
	VPEXTRQ     $1, X0, (DI)(AX*1)
	VMOVQ       X1, (DI)(AX*2)
	VPEXTRQ     $1, X1, (DI)(BX*1)
	VMOVQ       X2, (CX)
	VPEXTRQ     $1, X2, (CX)(AX*1)
	VMOVQ       X3, (CX)(AX*2)
	VPEXTRQ     $1, X3, (CX)(BX*1)
	VZEROUPPER
	RET

DATA up7<>+0(SB)/8, $0x0007000700070007
DATA up7<>+8(SB)/8, $0x0007000700070007
DATA up7<>+16(SB)/8, $0x0007000700070007
DATA up7<>+24(SB)/8, $0x0007000700070007
GLOBL up7<>(SB), RODATA|NOPTR, $32

DATA up8<>+0(SB)/8, $0x0008000800080008
DATA up8<>+8(SB)/8, $0x0008000800080008
DATA up8<>+16(SB)/8, $0x0008000800080008
DATA up8<>+24(SB)/8, $0x0008000800080008
GLOBL up8<>(SB), RODATA|NOPTR, $32

// The sum 3·near + far of 16 samples at an offset.
#define COLSUM(offset, out) \
	VPMOVZXBW offset(SI), out   \
	VPMOVZXBW offset(DX), Y7    \
	VPADDW    out, Y7, Y7       \
	VPADDW    out, out, out     \
	VPADDW    Y7, out, out

// func upsampleH2V2AVX2(dst, near, far *byte, count int)
TEXT ·upsampleH2V2AVX2(SB), NOSPLIT, $0-32
	MOVQ    dst+0(FP), DI
	MOVQ    near+8(FP), SI
	MOVQ    far+16(FP), DX
	MOVQ    count+24(FP), CX
	VMOVDQU up7<>(SB), Y5
	VMOVDQU up8<>(SB), Y6

upsample:
	COLSUM(0, Y0)
	COLSUM(1, Y1)
	COLSUM(2, Y2)
	VPADDW Y1, Y1, Y3
	VPADDW Y1, Y3, Y3  // 3·this
	VPADDW Y3, Y0, Y0
	VPADDW Y3, Y2, Y2
	VPADDW Y6, Y0, Y0
	VPADDW Y5, Y2, Y2
	VPSRLW $4, Y0, Y0
	VPSRLW $4, Y2, Y2
	VPSLLW $8, Y2, Y2
	VPOR   Y2, Y0, Y0
	VMOVDQU Y0, (DI)
	ADDQ   $16, SI
	ADDQ   $16, DX
	ADDQ   $32, DI
	SUBQ   $16, CX
	JNZ    upsample
	VZEROUPPER
	RET

DATA ycc128<>+0(SB)/8, $0x0080008000800080
DATA ycc128<>+8(SB)/8, $0x0080008000800080
DATA ycc128<>+16(SB)/8, $0x0080008000800080
DATA ycc128<>+24(SB)/8, $0x0080008000800080
GLOBL ycc128<>(SB), RODATA|NOPTR, $32

DATA yccR<>+0(SB)/8, $0x66e966e966e966e9
DATA yccR<>+8(SB)/8, $0x66e966e966e966e9
DATA yccR<>+16(SB)/8, $0x66e966e966e966e9
DATA yccR<>+24(SB)/8, $0x66e966e966e966e9
GLOBL yccR<>(SB), RODATA|NOPTR, $32

DATA yccB<>+0(SB)/8, $0xc5a2c5a2c5a2c5a2
DATA yccB<>+8(SB)/8, $0xc5a2c5a2c5a2c5a2
DATA yccB<>+16(SB)/8, $0xc5a2c5a2c5a2c5a2
DATA yccB<>+24(SB)/8, $0xc5a2c5a2c5a2c5a2
GLOBL yccB<>(SB), RODATA|NOPTR, $32

DATA yccG<>+0(SB)/8, $0x492ea7e6492ea7e6
DATA yccG<>+8(SB)/8, $0x492ea7e6492ea7e6
DATA yccG<>+16(SB)/8, $0x492ea7e6492ea7e6
DATA yccG<>+24(SB)/8, $0x492ea7e6492ea7e6
GLOBL yccG<>(SB), RODATA|NOPTR, $32

DATA yccHalf<>+0(SB)/8, $0x0000800000008000
DATA yccHalf<>+8(SB)/8, $0x0000800000008000
DATA yccHalf<>+16(SB)/8, $0x0000800000008000
DATA yccHalf<>+24(SB)/8, $0x0000800000008000
GLOBL yccHalf<>(SB), RODATA|NOPTR, $32

DATA yccOne<>+0(SB)/8, $0x0001000100010001
DATA yccOne<>+8(SB)/8, $0x0001000100010001
DATA yccOne<>+16(SB)/8, $0x0001000100010001
DATA yccOne<>+24(SB)/8, $0x0001000100010001
GLOBL yccOne<>(SB), RODATA|NOPTR, $32

// Red and green in one register, blue in another, to 24 bytes of pixels: 16 and then 8.
DATA yccRG1<>+0(SB)/8, $0x0a02800901800800
DATA yccRG1<>+8(SB)/8, $0x05800c04800b0380
DATA yccRG1<>+16(SB)/8, $0x0a02800901800800
DATA yccRG1<>+24(SB)/8, $0x05800c04800b0380
GLOBL yccRG1<>(SB), RODATA|NOPTR, $32

DATA yccB1<>+0(SB)/8, $0x8080018080008080
DATA yccB1<>+8(SB)/8, $0x8004808003808002
DATA yccB1<>+16(SB)/8, $0x8080018080008080
DATA yccB1<>+24(SB)/8, $0x8004808003808002
GLOBL yccB1<>(SB), RODATA|NOPTR, $32

DATA yccRG2<>+0(SB)/8, $0x800f07800e06800d
DATA yccRG2<>+8(SB)/8, $0x8080808080808080
DATA yccRG2<>+16(SB)/8, $0x800f07800e06800d
DATA yccRG2<>+24(SB)/8, $0x8080808080808080
GLOBL yccRG2<>(SB), RODATA|NOPTR, $32

DATA yccB2<>+0(SB)/8, $0x0780800680800580
DATA yccB2<>+8(SB)/8, $0x8080808080808080
DATA yccB2<>+16(SB)/8, $0x0780800680800580
DATA yccB2<>+24(SB)/8, $0x8080808080808080
GLOBL yccB2<>(SB), RODATA|NOPTR, $32

// The products are those of libjpeg-turbo's vector code: a factor f·2^16 = m·2^16 + k is taken as m plus the rounded
// high half of 2·x·k, halved, which is exact.
//
// func convertYCCAVX2(dst, y, cb, cr *byte, n int)
TEXT ·convertYCCAVX2(SB), NOSPLIT, $0-40
	MOVQ    dst+0(FP), DI
	MOVQ    y+8(FP), SI
	MOVQ    cb+16(FP), DX
	MOVQ    cr+24(FP), BX
	MOVQ    n+32(FP), CX
	VMOVDQU ycc128<>(SB), Y15
	VMOVDQU yccR<>(SB), Y14
	VMOVDQU yccB<>(SB), Y13
	VMOVDQU yccG<>(SB), Y12
	VMOVDQU yccHalf<>(SB), Y11
	VMOVDQU yccOne<>(SB), Y10

convert:
	VPMOVZXBW (SI), Y0
	VPMOVZXBW (DX), Y1
	VPMOVZXBW (BX), Y2
	VPSUBW    Y15, Y1, Y1 // u
	VPSUBW    Y15, Y2, Y2 // v

	VPUNPCKLWD Y2, Y1, Y3
	VPUNPCKHWD Y2, Y1, Y4
	VPMADDWD   Y12, Y3, Y3
	VPMADDWD   Y12, Y4, Y4
	VPADDD     Y11, Y3, Y3
	VPADDD     Y11, Y4, Y4
	VPSRAD     $16, Y3, Y3
	VPSRAD     $16, Y4, Y4
	VPACKSSDW  Y4, Y3, Y3
	VPSUBW     Y2, Y3, Y3
	VPADDW     Y0, Y3, Y3 // green

	VPADDW   Y2, Y2, Y5
	VPMULHW  Y14, Y5, Y5
	VPADDW   Y10, Y5, Y5
	VPSRAW   $1, Y5, Y5
	VPADDW   Y2, Y5, Y5
	VPADDW   Y0, Y5, Y5 // red

	VPADDW   Y1, Y1, Y6
	VPMULHW  Y13, Y6, Y7
	VPADDW   Y10, Y7, Y7
	VPSRAW   $1, Y7, Y7
	VPADDW   Y6, Y7, Y7
	VPADDW   Y0, Y7, Y7 // blue

	VPACKUSWB Y3, Y5, Y5
	VPACKUSWB Y7, Y7, Y7
	VPSHUFB   yccRG1<>(SB), Y5, Y0
	VPSHUFB   yccB1<>(SB), Y7, Y1
	VPSHUFB   yccRG2<>(SB), Y5, Y2
	VPSHUFB   yccB2<>(SB), Y7, Y3
	VPOR      Y1, Y0, Y0
	VPOR      Y3, Y2, Y2
	VMOVDQU   X0, (DI)
	VMOVQ     X2, 16(DI)
	VEXTRACTI128 $1, Y0, X0
	VEXTRACTI128 $1, Y2, X2
	VMOVDQU   X0, 24(DI)
	VMOVQ     X2, 40(DI)
	ADDQ      $16, SI
	ADDQ      $16, DX
	ADDQ      $16, BX
	ADDQ      $48, DI
	SUBQ      $16, CX
	JNZ       convert
	VZEROUPPER
	RET
