/* From the boot loader to guest_main(): header, stack, clean memory, and the entry points of
 * the interrupts. Entered in 32-bit protected mode without paging, interrupts off. */

#define MULTIBOOT_MAGIC 0x1BADB002
#define MULTIBOOT_FLAGS 3 /* modules page aligned; tell us about memory */

        .section .multiboot, "a"
        .balign 4
        .long MULTIBOOT_MAGIC
        .long MULTIBOOT_FLAGS
        .long -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .text
        .globl boot_entry
boot_entry:
        cli
        cld
        movl %eax, %esi         /* the loader's magic: rep stosb needs %eax */
        movl $bss_start, %edi
        movl $bss_end, %ecx
        subl %edi, %ecx
        xorl %eax, %eax
        rep stosb
        movl $boot_stack_top, %esp

        lgdt gdt_pointer
        ljmp $0x08, $1f
1:      movl $0x10, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %fs
        movl %eax, %gs
        movl %eax, %ss

        xorl %ebp, %ebp
        subl $8, %esp           /* keep the stack 16-byte aligned at the call */
        pushl %ebx              /* multiboot information */
        pushl %esi
        call guest_main
2:      hlt
        jmp 2b

/* One stub per vector. The CPU pushes an error code for some exceptions only; the others get a
 * zero, so that struct irq_frame fits all. */
        .macro stub vector, has_code
stub_\vector:
        .if \has_code == 0
        pushl $0
        .endif
        pushl $\vector
        jmp stub_common
        .endm

        .altmacro
        .macro stub_range from, to
        .set v, \from
        .rept \to - \from + 1
        stub %v, 0
        .set v, v + 1
        .endr
        .endm

        stub_range 0, 7
        stub 8, 1
        stub 9, 0
        stub 10, 1
        stub 11, 1
        stub 12, 1
        stub 13, 1
        stub 14, 1
        stub_range 15, 16
        stub 17, 1
        stub_range 18, 47

stub_common:
        pusha
        cld
        pushl %esp              /* struct irq_frame * */
        call irq_dispatch
        addl $4, %esp
        popa
        addl $8, %esp           /* vector and error code */
        iret

        .section .rodata
        .balign 4
        .globl irq_stubs
        .macro stub_address vector
        .long stub_\vector
        .endm
irq_stubs:
        .set v, 0
        .rept 48
        stub_address %v
        .set v, v + 1
        .endr

        .balign 8
gdt:    .quad 0
        .quad 0x00CF9A000000FFFF /* 0x08: code, flat 4 GiB */
        .quad 0x00CF92000000FFFF /* 0x10: data, flat 4 GiB */
gdt_end:
gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt

        .bss
        .balign 16
        .skip 16384
boot_stack_top:

        .section .note.GNU-stack, "", @progbits
