# Turn policy/presets/*.json into one C file: names and texts. qferry's own policies come first, the
# default before all, then those of other systems; what is not named here comes last.
set(ORDER
    minimal-downtime post-copy suspend-if-needed very-large-vm stop-and-copy legacy
    kubevirt vdsm-minimal-downtime vdsm-post-copy vdsm-suspend-if-needed vdsm-very-large-vm
    proxmox nova libvirt)
set(body "")
set(table "")
set(n 0)
list(SORT FILES)
foreach(file ${FILES})
    get_filename_component(name ${file} NAME_WE)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n    " bytes "${bytes}")
    string(APPEND body "static const char preset_${n}[] = {\n    ${bytes}0};\n")
    list(APPEND names ${name})
    set(row_${name} "    {\"${name}\", preset_${n}},\n")
    math(EXPR n "${n} + 1")
endforeach()
foreach(name ${ORDER} ${names})
    string(APPEND table "${row_${name}}")
    unset(row_${name})
endforeach()
file(WRITE ${OUT} "/* Made from the JSON files in policy/presets by embed.cmake. */
#include \"policy/presets.h\"

${body}
const struct policy_preset policy_presets[] = {
${table}};
const size_t policy_presets_count = ${n};
")
