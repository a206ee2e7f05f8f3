# Sums up the closing lines of cargo test, cargo nextest and node --test: prints `passed failed skipped`.
/^test result: / { for (i = 2; i <= NF; i++) add($(i - 1), $i) }
/^ *Summary \[/ { for (i = 2; i <= NF; i++) add($(i - 1), $i) }
/^(#|ℹ) (pass|fail|skipped|todo) [0-9]+$/ { add($3, $2) }
function add(number, word) {
    sub(/[;,]$/, "", word)
    if (word ~ /^pass(ed)?$/) p += number
    else if (word ~ /^fail(ed)?$/) f += number
    else if (word ~ /^(ignored|skipped|todo)$/) s += number
}
END { print p + 0, f + 0, s + 0 }
