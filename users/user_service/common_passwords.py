"""The passwords that are tried first, and the ways people vary them.

Eight characters are the least we take, so shorter ones need not be listed. A password is compared
as it is, and as the word that remains when its case, its usual letter swaps and what was hung on
to its end are taken away: `P@ssw0rd2024!` is `password`.
"""

from __future__ import annotations

import re

_SWAPS = str.maketrans("@4013$5!7", "aaoiessit")
_LEAST_PARTS = 2
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "1234567890", "0123456789")

_LISTED = frozenset(
    """
    1q2w3e4r 1q2w3e4r5t 1q2w3e4r5t6y 1qaz2wsx 1qaz2wsx3edc 1qazxsw2 q1w2e3r4 q1w2e3r4t5 qazwsxedc
    qazwsx123 qaz123wsx zaq12wsx zaq1zaq1 zaq1xsw2 1234qwer qwer1234 qwerasdf asdfqwer asdfzxcv
    zxcvasdf a1b2c3d4 a1s2d3f4 abcd1234 1234abcd abc12345 12345abc a1234567 a12345678 a123456789
    aa123456 aa12345678 123456aa 123456ab 12345678a 123456789a 123456789q q12345678 qq123456
    qwe12345 qwe123qwe 123qweasd qweasdzxc qweasd123 123qwe123 123456qwe 123321qwe qwerty12
    12341234 12121212 11223344 1122334455 11112222 12344321 123123123 123321123 147258369 159357258
    159753456 741852963 789456123 963852741 987456321 147852369 142536789 112233445566 123454321
    102030405060 10203040 100200300 123698745 123654789 321654987 456456456 147147147 789789789
    1a2b3c4d 1g2w3e4r 1password 2wsx3edc 3edc4rfv abcabcabc abc123456 aaa111222 access14 adidas123
    admin123 admin1234 administrator adminadmin alexander anthony1 arsenal1 asd12345 asdasd123
    asdasdasd asdf1234 asdfasdf azerty123 azertyuiop babygirl backspace badpassword baseball
    basketball batman123 benjamin beautiful birthday blahblah blink182 bluebird brittany bubblegum
    bulldogs business butterfly calvin123 capitals carolina catherine champion changeit changeme
    changeme123 charlie1 charlotte chelsea1 chicago1 chocolate christian christina christine
    christopher cinderella classic1 cocacola computer cookie123 corvette courtney cowboys1 creative
    crystal1 danielle darkness database default1 defaultpassword diamond1 diamonds dolphin1
    dolphins dragon12 dragonball drowssap eagle123 einstein elephant elizabeth emmanuel everyone
    explorer facebook familyfirst fernando fireball firebird firefighter fishing1 florence flowers1
    football footballs football1 forever1 forgotten franklin freedom1 friendly friends1 friendship
    fuckyou1 fuckyou2 garfield gateway1 georgia1 giants01 godzilla goldfish goodluck goodmorning
    grandma1 greenday grizzly1 guest123 guitar01 hamilton happy123 happyday hardcore harrypotter
    hellohello helloworld hello123 hello1234 hockey12 homework hotstuff hunter12 iceman12 icecream
    idontknow ihateyou iloveyou iloveyou1 iloveyou2 iloveyou12 iloveyou123 iloveme1 illusion
    immortal infinity instagram internet isabella jackson1 jasmine1 jennifer jessica1 jessica12
    johncena jonathan jordan23 justin12 katherine killer12 kimberly kingkong kristina lakers24
    lastname lawrence letmein1 letmein12 letmein123 letmeinn lifeisgood lightning liverpool
    logitech london12 lovelove lovelife loveme12 loveyou1 loverboy lovers12 lucky123 mackenzie
    madison1 magnolia manchester margaret marlboro maryjane master12 masterkey matthew1 maverick
    maxwell1 mercedes michael1 michaeljordan michelle michigan microsoft midnight minecraft
    monday12 money123 monkey12 monkey123 montreal moonlight morpheus motorola mountain mushroom
    musicman mustang1 mypassword mypassword1 myspace1 nascar24 nathaniel newcastle newpassword
    newyork1 nicholas nintendo nirvana1 nopassword nothing1 november october1 oblivion officer1
    omgomgomg operator original orange12 packers1 pa55word pa55w0rd p455w0rd pass1234 passpass
    passwd123 passphrase password password01 password1 password12 password123 password1234
    passwordpassword passw0rd patricia patrick1 patriots peaches1 pebbles1 peekaboo penelope
    personal phoenix1 platinum playboy1 playstation please123 pokemon1 pokemon12 pokemon123
    police12 porsche911 portugal pr0metheus precious princess princess1 princess12 property
    q2w3e4r5 qwaszx12 qwert123 qwert1234 qwerty01 qwerty11 qwerty123 qwerty1234 qwerty12345
    qwerty321 qwertyqwerty qwertyui rainbow1 rangers1 raiders1 rastaman rebecca1 redskins register
    remember republic richard1 robinhood rockstar rockyou1 romania1 ronaldo7 rosebud1 roxanne1
    runescape rush2112 samantha samsung1 samsung123 santiago sapphire saturday scooby12 scorpion
    scotland sebastian secret12 secret123 security sergeant shadow12 shadow123 shannon1 shopping
    sideways silver12 skywalker slipknot snickers snowball snowboard soccer10 soccer12 softball
    something southpark spartans spiderman spitfire spring12 stanford starcraft startrek starwars
    starwars1 steelers stephanie stephen1 strawberry student1 summer12 summer123 sunflower sunshine
    sunshine1 super123 superman superman1 superman12 superstar supersecret swordfish sweetheart
    sweetness sylvester system32 taekwondo teacher1 tecktonik telephone temporary terminal
    terminator test1234 test12345 testing1 testing123 testpass testpassword testtest thailand
    thebeatles thegreat themaster thomas12 thunder1 tigger12 timothy1 tinkerbell titanic1 tomorrow
    topsecret tottenham training treasure trinity1 trombone trouble1 trustme1 trustno1 trustno12
    tweety12 twilight undertaker underworld universe unknown1 user1234 username vacation valentina
    valentine vanessa1 veronica victoria victory1 vincent1 viper123 virginia volcom12 volleyball
    wareagle warcraft warrior1 warriors webmaster wednesday welcome1 welcome12 welcome123
    westside westwood whatever whatever1 whiskey1 whitesox wildcats william1 williams windows1
    windsurf winner12 winston1 winter12 wolverine woodland wordpass worldcup wrestling yankees1
    yellow12 yourmom1 youtube1 zaq12345 zeppelin zxcvbnm1 zxcvbnm12 zxcvbnm123 correcthorse
    correcthorsebatterystaple
    """.split()  # noqa: SIM905 - as a list of literals it would fill six times the lines
)
_WORDS = frozenset(
    """
    access admin adidas amanda andrew angel apple arsenal ashley austin azerty bailey banana barney
    baseball batman biteme buster charlie chelsea cheese chester chicken computer cookie corvette
    daniel demo dragon eagle facebook falcon family ferrari flower football freedom fuckyou george
    ginger google guest hannah happy harley heather hello hockey hunter iloveyou internet jackson
    jasmine jennifer jessica jordan joshua justin killer lakers letmein liverpool login london love
    maggie manager master matrix matthew merlin michael michelle minecraft monkey mustang naruto
    nicole ninja nothing oliver orange pass passwd password pepper phoenix pokemon princess purple
    qwerty qwertz rainbow ranger robert root samsung secret server shadow silver slayer snoopy
    soccer sparky spring starwars steelers summer sunshine superman temp tennis test tester testing
    thomas thunder tigger trustno user welcome whatever william winter yankees yellow zxcvbn
    """.split()  # noqa: SIM905 - as a list of literals it would fill six times the lines
)


def is_common(password: str, *, username: str) -> bool:
    """Whether it is among the first that anyone would try, or is made of the user's own name."""
    folded = password.casefold()
    if folded in _LISTED or _is_monotonous(folded) or _is_row(folded):
        return True
    stem = re.sub(r"[\W\d_]+$", "", folded)
    stems = {stem, stem.translate(_SWAPS), re.sub(r"^[\W\d_]+", "", stem)}
    return not stems.isdisjoint(_LISTED | _WORDS | {username, username[::-1]}) or (
        folded.translate(_SWAPS) in _LISTED
    )


def _is_monotonous(folded: str) -> bool:
    """One piece of up to four characters, over and over."""
    for length in range(1, 5):
        pieces = -(-len(folded) // length)
        if pieces >= _LEAST_PARTS and (folded[:length] * pieces)[: len(folded)] == folded:
            return True
    return False


def _is_row(folded: str) -> bool:
    """A run along a row of the keyboard, the alphabet or the digits, there or back."""
    rows = [row * 2 for row in _ROWS]
    return any(folded in row or folded[::-1] in row for row in rows)
