/* The lists, and a hash table over them. See stop_words.h. */
#include "loaders/stop_words.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "host/base/memory.h"

/* ---- the lists ------------------------------------------------------------------------------ */

static const struct {
    const char *code;
    const char *words; /* a space between two */
} lists[N_STOP_LANGUAGES] = {
    [STOP_ENGLISH] =
        {"en",
         "a an the this that these those some any each every either neither both all few many "
         "much more most less least other others another such same own one ones i me my mine "
         "myself we us our ours ourselves you your yours yourself yourselves he him his himself "
         "she her hers herself it its itself they them their theirs themselves who whom whose "
         "which what when where why how whoever whatever whenever wherever someone somebody "
         "something anyone anybody anything everyone everybody everything nobody nothing none "
         "be am is are was were been being have has had having do does did doing done can could "
         "may might must shall should will would ought cannot let lets and or but nor if then "
         "else than because so as while although though unless until since whether of in on at "
         "by for from to with without within into onto upon out off over under above below up "
         "down through during before after between among against about across along around "
         "behind beside besides beyond despite except inside near outside per toward towards "
         "via no not yes only just also too very quite rather still yet again ever never always "
         "often already almost even here there now once however therefore thus hence perhaps "
         "maybe etc please i'm i've i'd i'll you're you've you'd you'll he's he'd he'll she's "
         "she'd she'll it's it'd it'll we're we've we'd we'll they're they've they'd they'll "
         "that's that'll there's here's who's what's where's when's why's how's let's isn't "
         "aren't wasn't weren't haven't hasn't hadn't don't doesn't didn't can't couldn't "
         "mightn't mustn't shan't shouldn't won't wouldn't ain't needn't im ive dont cant didnt "
         "doesnt isnt whats thats wont"},
    [STOP_GERMAN] =
        {"de",
         "der die das den dem des ein eine einen einem einer eines kein keine keinen keinem "
         "keiner dieser diese dieses diesen diesem jener jene jenes jenen jenem jeder jede "
         "jedes jeden jedem alle allen aller alles manche manchen mancher solche solchen "
         "solcher welche welchen welcher welches viele vielen viel mehr wenig wenige andere "
         "anderen anderer anderes einige einigen etwas nichts ich mich mir mein meine meinen "
         "meinem meiner du dich dir dein deine deinen deiner er ihn ihm sein seine seinen "
         "seinem seiner seines sie ihr ihre ihren ihrem ihrer ihnen es wir uns unser unsere "
         "unseren euch euer eure man sich selbst wer wen wem was wessen bin bist ist sind seid "
         "war waren wird werden wurde wurden worden geworden habe hast hat haben hatte hatten "
         "gehabt gewesen kann kannst können konnte konnten könnte könnten muss müssen "
         "musste soll sollen sollte sollten will wollen wollte darf dürfen mag möchte lassen "
         "und oder aber sondern denn weil wenn als wie ob dass damit obwohl während bevor "
         "nachdem also doch in im ins an am ans auf aufs aus bei beim bis durch für gegen mit "
         "nach ohne seit über um unter von vom vor zu zum zur zwischen wegen trotz hinter "
         "neben ab gegenüber außer ausser nicht nur auch noch schon so sehr da dann hier dort "
         "hin her wo wann warum wieso wieder immer nie jetzt nun mal ja nein dabei dazu davon "
         "darauf daran darin dafür dagegen daher deshalb etwa zwar ganz sogar bereits jedoch"},
    [STOP_FRENCH] =
        {"fr",
         "le la les un une des du de au aux ce cet cette ces ceux celle celles celui cela ceci "
         "ça mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs quel quelle quels "
         "quelles tout toute tous toutes autre autres même mêmes plusieurs quelque quelques "
         "chaque aucun aucune tel telle certains certaines je tu il elle on nous vous ils elles "
         "me te se moi toi soi lui eux y en qui que quoi dont où lequel laquelle lesquels "
         "personne rien quelqu'un être suis es est sommes êtes sont étais était étaient "
         "été étant sera seront serait soit soient fut avoir ai as a avons avez ont avait "
         "avaient eu aura auront aurait ait aient faire fait fais font peut peuvent pouvoir "
         "pourrait doit doivent devoir va vont aller faut et ou mais donc or ni car si comme "
         "quand lorsque puisque parce afin ainsi alors tandis à dans par pour sur sous avec "
         "sans entre vers chez contre depuis pendant avant après dès jusque jusqu'à malgré "
         "selon hors parmi devant derrière près loin lors ne pas plus moins non oui très "
         "trop peu beaucoup bien aussi encore déjà toujours jamais souvent ici là puis "
         "ensuite enfin cependant pourtant comment pourquoi combien voici voilà l d j m t s c "
         "n qu c'est n'est d'un d'une qu'il qu'elle qu'on s'il j'ai n'a l'on c'était"},
    [STOP_SPANISH] =
        {"es",
         "el la los las lo un una unos unas al del este esta estos estas esto ese esa esos esas "
         "eso aquel aquella aquellos aquellas aquello mi mis tu tus su sus nuestro nuestra "
         "nuestros nuestras vuestro vuestra mío mía suyo suya todo toda todos todas otro otra "
         "otros otras mismo misma mismos mismas cada algún alguna algunos algunas alguno "
         "ningún ninguna ninguno varios varias mucho mucha muchos muchas poco poca pocos pocas "
         "tanto tanta tan demás yo tú él ella ello nosotros nosotras vosotros ellos ellas "
         "usted ustedes me te se nos os le les mí ti sí conmigo contigo que qué quien quién "
         "quienes cual cuál cuales cuyo cuya algo nada alguien nadie ser soy eres es somos son "
         "era eran fue fueron sido siendo será serán sería sea sean estar estoy está están "
         "estaba estaban estado haber he has ha hemos han había habían hay habrá haya tener "
         "tengo tiene tienen tenía hacer hace hacen puede pueden poder debe deben va van ir y "
         "e o u pero sino ni si porque pues como cómo cuando cuándo donde dónde aunque "
         "mientras a ante bajo con contra de desde durante en entre hacia hasta para por según "
         "sin sobre tras no más menos muy ya también tampoco sólo solo aún todavía siempre "
         "nunca aquí ahí allí así antes después luego entonces ahora hoy casi además bien"},
    [STOP_ITALIAN] =
        {"it",
         "il lo la i gli le un uno una del dello della dei degli delle al allo alla ai agli "
         "alle dal dallo dalla dai dagli dalle nel nello nella nei negli nelle sul sullo sulla "
         "sui sugli sulle col coi questo questa questi queste quello quella quelli quelle quel "
         "quei mio mia miei mie tuo tua tuoi tue suo sua suoi sue nostro nostra nostri nostre "
         "vostro vostra loro tutto tutta tutti tutte altro altra altri altre stesso stessa "
         "stessi ogni qualche alcuni alcune nessuno nessuna molto molta molti molte poco pochi "
         "tanto tanti quale quali quanto quanti io tu lui lei noi voi essi egli ella mi ti si "
         "ci vi ne me te sé che chi cui cosa niente nulla qualcosa qualcuno essere sono sei è "
         "siamo siete era erano ero stato stata stati state fu furono sarà saranno sarebbe sia "
         "siano avere ho hai ha abbiamo avete hanno aveva avevano avuto avrà abbia fare fa "
         "fanno fatto può possono potere deve devono dovere va vanno viene vengono sta stanno "
         "e ed o od ma però se né anche perché poiché quando come dove mentre quindi dunque "
         "a ad di da in con su per tra fra contro dopo prima durante senza sotto sopra verso "
         "presso fino oltre secondo non più meno già ancora sempre mai solo soltanto qui qua "
         "lì là così poi ora oggi adesso allora proprio circa invece bene c'è c'era dell "
         "all nell sull dall quell"},
    [STOP_PORTUGUESE] =
        {"pt",
         "o a os as um uma uns umas ao aos à às do da dos das no na nos nas num numa pelo "
         "pela pelos pelas dum duma este esta estes estas isto esse essa esses essas isso "
         "aquele aquela aqueles aquelas aquilo neste nesta nesse nessa deste desta desse dessa "
         "meu minha meus minhas teu tua seu sua seus suas nosso nossa nossos nossas todo toda "
         "todos todas outro outra outros outras mesmo mesma mesmos cada algum alguma alguns "
         "algumas nenhum nenhuma vários várias muito muita muitos muitas pouco poucos tanto "
         "tão qualquer eu tu ele ela nós vós eles elas você vocês me te se lhe lhes vos "
         "mim ti si consigo que quem qual quais cujo cuja quê algo nada alguém ninguém tudo "
         "ser sou és é somos são era eram foi foram sido sendo será serão seria seja sejam "
         "estar estou está estão estava estavam esteve ter tenho tem têm tinha tinham teve "
         "terá haver há havia houve fazer faz fazem feito pode podem poder deve devem vai "
         "vão ir e ou mas porém nem porque pois como quando onde embora enquanto portanto "
         "ante após até com contra de desde durante em entre para per por perante sem sob "
         "sobre trás não sim mais menos já também só ainda sempre nunca aqui aí ali lá "
         "assim antes depois então agora hoje quase além bem apenas"},
    [STOP_DUTCH] =
        {"nl",
         "de het een der des den dit dat deze die geen elk elke ieder iedere alle alles al "
         "andere ander veel meer meest minder weinig enkele enige sommige zulke welke welk zelf "
         "zelfde eigen ik mij me mijn jij je jou jouw u uw hij hem zijn zij ze haar wij we ons "
         "onze jullie hun hen zich men wie wat wiens iets niets iemand niemand iedereen er ben "
         "bent is was waren wees geweest word wordt worden werd werden geworden heb hebt heeft "
         "hebben had hadden gehad kan kunt kunnen kon konden moet moeten moest mag mogen mocht "
         "zal zult zullen zou zouden wil wilt willen wilde doe doet doen deed gedaan laat laten "
         "gaat gaan komt en of maar want dus omdat doordat als dan toen terwijl hoewel indien "
         "zodat zoals aan achter bij binnen boven buiten door in langs met na naar naast om "
         "onder op over per rond sinds tegen tot tussen uit van vanaf vanuit via volgens voor "
         "vóór zonder te ten ter niet wel nog ook zo zeer heel erg nu hier daar waar wanneer "
         "waarom hoe toch reeds altijd nooit vaak steeds weer even alleen slechts ongeveer ja "
         "nee daarom daarna daarbij hierbij echter bijna eens"},
    [STOP_CHINESE] = {"zh", "的 了 和 是 在 我 有 他 她 它 这 那 就 不 也 都 而 及 与 或 但 "
                            "被 把 让 给 从 到 对 为 以 于 之 其 所 着 过 吗 呢 吧 啊 很 更 "
                            "最 又 再 还 只 才 已 将 会 能 可 要 想 去 来 上 下 里 我们 你们 "
                            "他们 她们 它们 自己 这个 那个 这些 那些 这里 那里 这样 那样 "
                            "什么 怎么 如何 为什么 哪个 哪些 多少 一个 一些 一种 没有 "
                            "不是 不能 可以 可能 应该 需要 因为 所以 但是 如果 虽然 然后 "
                            "而且 或者 以及 还是 就是 已经 正在 通过 进行 对于 关于 由于 "
                            "根据 其中 其他 之后 之前 時候 时候 现在 非常 這 這個 那個 "
                            "這些 這樣 什麼 怎麼 為什麼 我們 你們 他們 沒有 因為 雖然 "
                            "還是 已經 對於 關於 與 為 會 來 後 個"},
    [STOP_KOREAN] = {"ko", "그 이 저 것 수 등 및 또 더 좀 잘 그리고 그러나 하지만 그래서 "
                           "그런데 또는 또한 즉 만약 때문에 위해 위한 대한 대해 통해 "
                           "따라 관한 의한 있는 있다 있는지 없는 없다 하는 한다 하다 "
                           "했다 되는 된다 되다 됐다 이다 아니다 같은 많은 모든 어떤 "
                           "이런 그런 저런 다른 각 나 너 우리 저희 그녀 그들 누구 무엇 "
                           "어디 언제 왜 어떻게 여기 거기 저기 지금 이미 아직 매우 아주 "
                           "너무 다시 함께 바로 가장 모두 다 안 못 것이다 합니다 입니다 "
                           "있습니다 없습니다 이것 그것 저것 이번 지난 약 단"},
    [STOP_JAPANESE] = {"ja", "する ある いる なる できる 出来る くる いく おる やる しまう "
                             "れる られる せる させる くださる 下さる いただく 頂く "
                             "くれる もらう こと もの とき ところ ため よう わけ はず ほう "
                             "まま"},
};

const char *stop_language_code(enum stop_language language)
{
    return lists[language].code;
}

enum stop_language stop_language_find(const char *code)
{
    for (int i = 0; i < N_STOP_LANGUAGES; i++)
        if (strcmp(lists[i].code, code) == 0)
            return (enum stop_language)i;
    return STOP_NONE;
}

/* ---- the table ------------------------------------------------------------------------------ */

#define N_SLOTS ((size_t)4096) /* a power of two, more than twice the words of all lists */

struct stop_words {
    struct {
        const char *word; /* inside a list; NULL: empty */
        size_t length;
        unsigned languages;
    } slots[N_SLOTS];
};

/* The slot where the word is or would go: open addressing after FNV-1a. */
static size_t find_slot(const struct stop_words *stop_words, const char *word, size_t length)
{
    uint64_t hash = 0xCBF29CE484222325;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)word[i]) * 0x100000001B3;
    for (size_t at = (size_t)(hash ^ hash >> 32);; at++) {
        size_t slot = at & (N_SLOTS - 1);
        if (!stop_words->slots[slot].word || (stop_words->slots[slot].length == length &&
                                              !memcmp(stop_words->slots[slot].word, word, length)))
            return slot;
    }
}

enum status stop_words_open(struct stop_words **out, struct err *err)
{
    struct stop_words *stop_words = *out = mem_alloc_zero(1, sizeof *stop_words);
    if (!stop_words)
        return err_no_memory(err, "the stop words", sizeof *stop_words);
    for (int language = 0; language < N_STOP_LANGUAGES; language++) {
        const char *word = lists[language].words;
        while (*word) {
            size_t length = strcspn(word, " "), slot = find_slot(stop_words, word, length);
            stop_words->slots[slot].word = word;
            stop_words->slots[slot].length = length;
            stop_words->slots[slot].languages |= 1u << language;
            word += length + (word[length] == ' ');
        }
    }
    return STATUS_OK;
}

void stop_words_close(struct stop_words *stop_words)
{
    mem_free(stop_words);
}

unsigned stop_words_lookup(const struct stop_words *stop_words, const char *word, size_t length)
{
    return stop_words->slots[find_slot(stop_words, word, length)].languages;
}

/* ---- apostrophes ---------------------------------------------------------------------------- */

/* Whether word[0..length) is one of `words`, which have spaces between and round them. */
static bool is_one_of(const char *words, const char *word, size_t length)
{
    for (const char *at = words + 1; *at; at += strcspn(at, " ") + 1)
        if (strcspn(at, " ") == length && memcmp(at, word, length) == 0)
            return true;
    return false;
}

const char *stop_words_trim(enum stop_language language, const char *word, size_t *length)
{
    static const char french[] = " l d j m t s c n qu jusqu lorsqu puisqu quoiqu ";
    static const char italian[] = " l un d c s m t v n gl dell all nell sull dall coll quell "
                                  "quest anch com dov ";
    const char *apostrophe = memchr(word, '\'', *length);
    if (!apostrophe)
        return word;
    size_t before = (size_t)(apostrophe - word), behind = *length - before - 1;
    if (language == STOP_ENGLISH && behind == 1 && apostrophe[1] == 's') {
        *length = before;
    } else if ((language == STOP_FRENCH && is_one_of(french, word, before)) ||
               (language == STOP_ITALIAN && is_one_of(italian, word, before))) {
        *length = behind;
        return apostrophe + 1;
    }
    return word;
}
