# Turn JSON files into one C file: a table of names and texts called TABLE. The names in ORDER come
# first, in that order; what is not named there follows by the alphabet.
set(body "")
set(table "")
set(n 0)
list(SORT FILES)
foreach(file ${FILES})
    get_filename_component(name ${file} NAME_WE)
    file(READ ${file} hex HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n    " bytes "${bytes}")
    string(APPEND body "static const char text_${n}[] = {\n    ${bytes}0};\n")
    list(APPEND names ${name})
    set(row_${name} "    {\"${name}\", text_${n}},\n")
    math(EXPR n "${n} + 1")
endforeach()
foreach(name ${ORDER} ${names})
    string(APPEND table "${row_${name}}")
    unset(row_${name})
endforeach()
file(WRITE ${OUT} "/* Made from JSON files by policy/presets/embed.cmake. */
#include \"policy/presets.h\"

${body}
const struct policy_preset ${TABLE}[] = {
${table}};
const size_t ${TABLE}_count = ${n};
")
