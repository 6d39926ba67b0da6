cat > page.1 <<'ROFF'
.TH PAGE 1
.SH NAME
page \- is shown
.SH DESCRIPTION
A sentence with a
.B word
in it.
ROFF
man --local-file ./page.1 > shown
grep -q 'page - is shown' shown
mkdir -p pages/man1
mv page.1 pages/man1
mandb --quiet --user-db pages
man --manpath="$PWD/pages" page | grep -q 'A sentence with a word in it.'
test "$(whatis --manpath="$PWD/pages" page)" = 'page (1)             - is shown'
