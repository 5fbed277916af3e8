# The guest: a boot sector that fills memory and then writes some pages for ever.
#
#   as --32 guest.s -o guest.o && ld -m elf_i386 -Ttext=0x7c00 --oformat=binary guest.o -o guest.bin
#
# 16 MiB to 80 MiB is filled with words that equal their own address, so that no page is all zero and no
# two are the same. Then 0x900000 says "DONE", and the first word of each of PAGES pages from START on is
# counted up, again and again. Both numbers are patched into the sector at bytes 500 and 504.

        .code16
        .globl _start
_start: cli
        xorw    %ax, %ax
        movw    %ax, %ds
        inb     $0x92, %al              # address line 20
        orb     $2, %al
        outb    %al, $0x92
        lgdtl   pointer
        movl    %cr0, %eax
        orl     $1, %eax
        movl    %eax, %cr0
        ljmpl   $8, $flat

        .code32
flat:   movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movl    $0x1000000, %edi
fill:   movl    %edi, %eax
        stosl
        cmpl    $0x5000000, %edi
        jb      fill
        movl    $0x454e4f44, 0x900000   # "DONE"

again:  movl    start, %edi
        movl    pages, %ecx
        testl   %ecx, %ecx
        jz      sleep
count:  incl    (%edi)
        addl    $4096, %edi
        movl    $20000, %eax            # some 10 us of nothing
wait:   decl    %eax
        jnz     wait
        loop    count
        jmp     again

sleep:  hlt                             # interrupts are off: for ever
        jmp     sleep

        .balign 8
table:  .quad   0
        .quad   0x00cf9a000000ffff      # code, flat
        .quad   0x00cf92000000ffff      # data, flat
pointer: .word  . - table - 1
        .long   table

        .org    500
start:  .long   0
pages:  .long   0
        .org    510
        .word   0xaa55
